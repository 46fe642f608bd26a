import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { compilePolicy } from '../src/core/policy/compile.js'
import { decide, factsNeeded, type PolicyRef } from '../src/core/policy/decide.js'
import { readRequest } from '../src/core/policy/request.js'
import type { CanonicalRequest } from '../src/core/policy/stage.js'
import { compileKills, KILL_SCOPES, type KillFact } from '../src/core/policy/stages/kill.js'
import { SCOPES } from '../src/core/policy/stages/runner.js'
import type { Held } from '../sdk/src/local/source.js'
import type { LocalGuard as LocalGuardClass } from '../sdk/src/local.js'
import { LocalService } from './support/local-service.js'
import { buildSdk, SDK } from './support/sdk.js'

jest.setTimeout(3_600_000)

/** `LOCAL_CASES=1000000 npm run jest -- test/local-agreement` is the full count. */
const CASES = Number(process.env.LOCAL_CASES ?? 20_000)
const REQUESTS = 200
const SEED = Number(process.env.LOCAL_SEED ?? Date.now() % 1_000_000)

/** What is asked of the package as it is built: the core that is bundled in it. */
interface Inside {
  source: { usable(): Promise<Held>; refresh(): Promise<void> }
  decide(held: Held, request: unknown): { decision?: unknown; decided_at?: number; online?: string }
  close(options: { timeoutMs: number }): Promise<void>
}

let random = mulberry(SEED)
const below = (n: number) => Math.floor(random() * n)
const one = <T>(items: readonly T[]): T => items[below(items.length)] as T
const maybe = <T>(value: T, odds = 0.5): T | undefined => (random() < odds ? value : undefined)

const VERBS = ['read', 'write', 'send', 'delete', 'Read', 'SEND', 'call', '*']
const NOUNS = ['file', 'email', 'user data', 'api', '*', 'file:*', 'Email']
const RESOURCES = [
  '/a',
  '/a/*',
  '/a/../b',
  's3://docs/x',
  's3://docs/*',
  '*',
  'https://API.example.com/v1',
  '/B',
]
const DAYS = ['Monday', 'Tue', 'sat', 'Sunday']
const ENVIRONMENTS = ['dev', 'stage', 'prod', 'production']
const PLACES = ['/arguments/status', '/arguments/to/user_id', '/context/status', '/arguments/amount']
const TESTS = [
  'archived',
  ['open', 'archived', null],
  { not_in: ['archived'] },
  { min: 5 },
  { in: [5, 6], max: 5 },
  false,
]
const VALUES = ['archived', 'Archived', 'open', null, 5, 6, '5', false, ['archived', 5], {}, undefined]
const carried = () =>
  defined({
    status: one(VALUES),
    Status: maybe(one(VALUES), 0.1),
    amount: one(VALUES),
    to: one([one(VALUES), { user_id: one(VALUES) }, [{ userId: one(VALUES) }]]),
  })
const clock = () => `${String(below(24)).padStart(2, '0')}:${String(below(60)).padStart(2, '0')}`
const action = () => (random() < 0.1 ? '*' : `${one(VERBS)}${one([':', ' '])}${one(NOUNS)}`)
const defined = (members: object) =>
  Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined))

function rule() {
  const range = { start: clock(), end: clock(), tz: maybe('Europe/Berlin', 0.2) }
  const conditions = defined({
    env: maybe(one([one(ENVIRONMENTS), [one(ENVIRONMENTS), one(ENVIRONMENTS)]]), 0.4),
    time_range: maybe(defined(range), 0.4),
    day_of_week: maybe([one(DAYS), one(DAYS)], 0.3),
    request: maybe({ [one(PLACES)]: one(TESTS) }, 0.4),
  })
  return defined({
    action: action(),
    resource: maybe(one(RESOURCES), 0.4),
    conditions: Object.keys(conditions).length > 0 && random() < 0.5 ? conditions : undefined,
  })
}
const rules = (most: number) => Array.from({ length: below(most + 1) }, rule)

function document() {
  const made = defined({
    allow: rules(5),
    deny: rules(2),
    require_approval: rules(1),
    require_online: random() < 0.15 ? [action()] : undefined,
  })
  return compilePolicy(made, { isZone: () => true }).ok ? made : { allow: [{ action: '*' }] }
}

function kill(service: LocalService): KillFact[] {
  if (random() < 0.7) return []
  const scope = one(KILL_SCOPES)
  const target = {
    installation: undefined,
    organization: undefined,
    environment: one(['prod', 'dev']),
    team: one(['ops', 'red']),
    agent: service.agent.agent_id,
    key: one([service.agent.key_id, 'key_other']),
    action: action(),
  }[scope]
  return [{ id: 'kil_a', scope, ...(target !== undefined && { target }) }]
}

const request = () =>
  defined({
    action: action().replaceAll('*', 'x'),
    resource: maybe(one(RESOURCES).replaceAll('*', 'y'), 0.7),
    arguments: maybe(carried(), 0.5),
    context: maybe(carried(), 0.3),
    approval_id: maybe('apr_a', 0.02),
  })

/** What the service says: its decision, or why only it may decide, or that the lease has run out. */
function wanted(policies: PolicyRef[], service: LocalService, asked: object, over: boolean): unknown {
  if (over) return 'lease_expired'
  const read = readRequest(asked as { action: string })
  if (!read.ok) throw new Error(JSON.stringify(asked))
  const { value } = read
  if (value.approval_id !== null) return 'approval'
  if (isOnline(service, value)) return 'require_online'
  if (factsNeeded(policies, value, service.agent).length > 0) return 'facts'
  const facts = { kill: compileKills(service.kill) }
  const decision = decide(policies, value, service.agent, service.time, facts)
  return decision.effect === 'pending' ? 'approval' : decision
}

/** Not as the package finds out: a pattern reaches as far as a deny rule of the same text does. */
function isOnline({ documents, agent, time }: LocalService, asked: CanonicalRequest): boolean {
  const patterns = Object.values(documents).flatMap(
    (made) => (made as { require_online?: string[] }).require_online ?? [],
  )
  const compiled = compilePolicy({ deny: patterns.map((text) => ({ action: text })) }, { isZone: () => true })
  if (!compiled.ok) throw new Error(JSON.stringify(patterns))
  const denies = [{ scope: 'agent', id: '', version: 1, sha256: '', compiled: compiled.value }] as const
  return decide(denies, asked, agent, time, { kill: [] }).code === 'deny_rule'
}

beforeAll(() => buildSdk())

it(`the package and the service agree on ${CASES} cases (LOCAL_SEED=${SEED})`, async () => {
  random = mulberry(SEED)
  const { LocalGuard } = (await import(path.join(SDK, 'dist/local.cjs'))) as {
    LocalGuard: typeof LocalGuardClass
  }
  const dir = mkdtempSync(path.join(tmpdir(), 'agentguard-agreement-'))
  const met: Record<string, number> = {}
  for (let cases = 0; cases < CASES; cases += REQUESTS) {
    const service = new LocalService()
    service.time += below(7 * 86_400_000)
    service.documents = defined(Object.fromEntries(SCOPES.map((scope) => [scope, maybe(document(), 0.7)])))
    service.kill = kill(service)
    const guard = new LocalGuard({
      agentKey: 'agk_x',
      agentId: service.agent.agent_id,
      baseURL: 'http://local.test',
      spool: dir,
      fetch: service.fetch,
      clocks: service.clocks,
      follow: false,
    }) as unknown as Inside
    const held = await guard.source.usable()
    const policies = SCOPES.flatMap((scope): PolicyRef[] => {
      const found = service.documents[scope]
      const named = held.bundle.manifest.policies.find((policy) => policy.scope === scope)
      const compiled = found && compilePolicy(found, { isZone: () => true })
      return compiled?.ok && named ? [{ ...named, scope, compiled: compiled.value }] : []
    })
    const began = service.time
    for (let n = 0; n < REQUESTS; n++) {
      const passed = below(service.lease_ms + 50)
      service.time = began + passed
      const asked = request()
      const said = outcome(guard, held, asked)
      const want = wanted(policies, service, asked, passed >= service.lease_ms)
      const kind = typeof want === 'string' ? want : (want as { code: string }).code
      met[kind] = (met[kind] ?? 0) + 1
      if (JSON.stringify(said) !== JSON.stringify(want))
        throw new Error(
          JSON.stringify({ said, want, asked, documents: service.documents, time: service.time }),
        )
    }
    await guard.close({ timeoutMs: 0 })
  }
  rmSync(dir, { recursive: true, force: true })
  process.stderr.write(`  agreement by outcome: ${JSON.stringify(met)}\n`)
  for (const kind of ['allow_rule', 'deny_rule', 'default_deny', 'kill_switch_active', 'approval', 'facts'])
    expect([kind, (met[kind] ?? 0) > 0]).toEqual([kind, true])
})

function outcome(guard: Inside, held: Held, asked: object): unknown {
  try {
    const { decision, online } = guard.decide(held, asked)
    return online ?? decision
  } catch (error) {
    return (error as { code?: string }).code
  }
}

function mulberry(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296
  }
}
