import fc from 'fast-check'
import { readAction } from './action.js'
import { keyFilter } from './key-filter.js'
import { compileAllowAction } from './pattern.js'

const word = fc.constantFrom('read', 'Read', 'write', 'file', 'external', 'Email', 'a1', 'READ')
const separator = fc.constantFrom(':', ' ', '_', '-', '')
const join = (parts: readonly string[]) => parts.join('')
const request = fc
  .array(fc.tuple(word, separator), { minLength: 1, maxLength: 4 })
  .map((parts) => join(parts.flat()))
const pattern = fc
  .array(fc.tuple(fc.oneof(word, fc.constantFrom('*', '?', '[a-r]ead', '[!w]*', 're*')), separator), {
    minLength: 1,
    maxLength: 3,
  })
  .map((parts) => join(parts.flat()))

describe('filters over stored action keys', () => {
  it('select exactly the keys of the requests that an allow rule of the same text matches', () => {
    let matched = 0
    fc.assert(
      fc.property(pattern, request, (source, raw) => {
        const rule = compileAllowAction(source)
        const filter = keyFilter(source)
        const action = readAction(raw)
        expect(filter.ok).toBe(rule.ok)
        if (!rule.ok || !filter.ok || !action.ok) return
        const { value } = filter
        const found =
          'key' in value ? value.key === action.value.key : new RegExp(value.regex).test(action.value.key)
        expect(found).toBe(rule.value.matches(action.value))
        if (found) matched++
      }),
      { numRuns: 20_000 },
    )
    expect(matched).toBeGreaterThan(1_000)
  })

  it('lets nothing of the source act as an operator', () => {
    const plain = String.raw`(?:[a-z0-9]|\\u[0-9a-f]{4}|\\U[0-9a-f]{8})`
    const safe = new RegExp(
      String.raw`^\^\((?:${plain}|\.|\.\*|\||\(\?!\.\*:\)|\[\^?(?:${plain}-${plain})+\])*\)\$$`,
    )
    fc.assert(
      fc.property(
        fc.string({ unit: fc.constantFrom(...'ab1.|()+{}^$\\[]*?!- _:'), maxLength: 12 }),
        (source) => {
          const filter = keyFilter(source)
          if (filter.ok && 'regex' in filter.value) expect(filter.value.regex).toMatch(safe)
        },
      ),
      { numRuns: 5_000 },
    )
  })
})
