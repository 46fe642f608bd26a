import { err, ok } from '../../result.js'
import { compilePolicy } from '../compile.js'
import { ruleOf } from './rules.js'
import { SharedMatchers } from './shared-matchers.js'

it('compiles a text once, and forgets it when enough others were asked for since', () => {
  const compiled: string[] = []
  const shared = new SharedMatchers<object>((source) => {
    compiled.push(source)
    return ok({})
  }, 3)
  const often = shared.of('often')
  for (let n = 0; n < 30; n++) {
    shared.of(`other ${n}`)
    expect(shared.of('often')).toEqual(often)
  }
  expect(compiled.filter((source) => source === 'often')).toHaveLength(1)
  expect(compiled).toHaveLength(31)
  for (let n = 30; n < 40; n++) shared.of(`other ${n}`)
  shared.of('often')
  expect(compiled.filter((source) => source === 'often')).toHaveLength(2)
})

it('remembers neither what is large nor what does not compile', () => {
  let compiled = 0
  const shared = new SharedMatchers<object>((source) => {
    compiled++
    return source === 'wrong' ? err('wrong') : ok({})
  })
  const texts = ['wrong', 'a?c', 'a[bc]', 'x'.repeat(129)]
  for (const text of [...texts, ...texts]) shared.of(text)
  expect(compiled).toBe(2 * texts.length)
})

it('keeps an allow and a deny of the same text apart', () => {
  const policy = (allow: string, deny: string) => {
    const result = compilePolicy(
      { allow: [{ action: allow }], deny: [{ action: deny }] },
      { isZone: () => true },
    )
    if (!result.ok) throw new Error(JSON.stringify(result.errors))
    return result.value.rules
  }
  const [one, two] = [policy('delete:file', 'delete:*'), policy('delete:*', 'delete:file')]
  const matchers = [one, two].flatMap((rules) =>
    ['allow/0', 'deny/0'].map((id) => ruleOf(rules, id)?.actionMatcher),
  )
  expect(new Set(matchers).size).toBe(4)
  expect(policy('delete:file', 'delete:*').lists.allow.rules[0]?.actionMatcher).toBe(matchers[0])
})

it('finds the rule that a finding names, and nothing for a name that is none', () => {
  const result = compilePolicy(
    {
      allow: [{ action: 'a' }, { action: 'b' }],
      deny: [{ action: 'c' }],
      require_approval: [{ action: 'd' }],
    },
    { isZone: () => true },
  )
  if (!result.ok) throw new Error(JSON.stringify(result.errors))
  const { rules } = result.value
  expect(rules.count).toBe(4)
  for (const id of ['allow/0', 'allow/1', 'deny/0', 'require_approval/0'])
    expect(ruleOf(rules, id)?.id).toBe(id)
  const action = (id: string) => ruleOf(rules, id)?.action
  expect([action('allow/1'), action('deny/0'), action('require_approval/0')]).toEqual(['b', 'c', 'd'])
  for (const id of [
    '',
    'allow',
    'allow/',
    'allow/2',
    'allow/01',
    'allow/-1',
    'allow/length',
    'deny/1',
    '__proto__/0',
  ])
    expect(ruleOf(rules, id)).toBeNull()
})
