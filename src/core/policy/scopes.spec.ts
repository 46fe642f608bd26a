import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parse } from 'yaml'
import { compilePolicy } from './compile.js'
import { decide, NO_FACTS, type PolicyRef } from './decide.js'
import { readRequest } from './request.js'
import { SCOPES } from './stages/runner.js'

interface ScopesCase {
  name: string
  policies: Partial<Record<(typeof SCOPES)[number], unknown>>
  request: { action: string }
  want: { status: string; code: string; scope: string | null }
}

const cases = parse(readFileSync(join(__dirname, 'testdata/scopes/merge.yaml'), 'utf8')) as ScopesCase[]
const STATUS = { allow: 'allowed', deny: 'denied', pending: 'pending' } as const

function decided({ policies, request }: ScopesCase, order: readonly (typeof SCOPES)[number][]) {
  const read = readRequest(request)
  if (!read.ok) throw new Error(JSON.stringify(read.errors))
  const refs = order.flatMap((scope): PolicyRef[] => {
    if (policies[scope] === undefined) return []
    const compiled = compilePolicy(policies[scope], { isZone: () => true })
    if (!compiled.ok) throw new Error(JSON.stringify(compiled.errors))
    return [{ scope, id: `pol_${scope}`, version: 1, sha256: '00', compiled: compiled.value }]
  })
  const agent = { agent_id: 'agt_1', environment: 'dev', team: 'support' } as const
  const { effect, code, matched_rule } = decide(refs, read.value, agent, 0, NO_FACTS)
  return { status: STATUS[effect], code, scope: matched_rule?.scope ?? null }
}

describe('policies of several scopes', () => {
  it.each(cases.map((one) => [one.name, one] as const))('%s', (_, one) => {
    expect(decided(one, SCOPES)).toEqual(one.want)
    expect(decided(one, [...SCOPES].reverse())).toEqual(one.want)
  })
})
