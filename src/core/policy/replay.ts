/**
 * Making a decision again from what its ledger entry records (ledger.md, Replay): entry, payload, policies by digest,
 * recorded facts, `now` = the entry's time. The answer given to the agent is a function of these.
 */
import type { Json } from '../ledger/canonical.js'
import type { DecisionEntry, EntryDecision } from '../ledger/entry.js'
import { type CompiledPolicy, compilePolicy } from './compile.js'
import {
  type Decision,
  decideWith,
  ENGINE,
  type Facts,
  type PolicyRef,
  runnersOf,
  type Scope,
} from './decide.js'
import { requiresOnline } from './local.js'
import { readRequest } from './request.js'
import { type AgentFacts, ENVIRONMENTS } from './stage.js'
import { compileKills, readKillFacts } from './stages/kill.js'
import { type Runner, SCOPES } from './stages/runner.js'

export type Replay =
  | { readonly outcome: 'same' }
  | {
      readonly outcome: 'differs'
      /** Members of the entry that come out differently, such as `decision.effect` or `action.key`. */
      readonly fields: readonly string[]
      /** What the decision comes out as; null when it was not reached. */
      readonly decision: EntryDecision | null
    }
  | { readonly outcome: 'not_replayable'; readonly why: NotReplayable; readonly detail: string }

export type NotReplayable =
  /** The payload has been erased: lawful, and no finding. */
  | 'redacted'
  /** Another version of the engine has decided. */
  | 'engine'
  /** A policy of the entry is not there, or does not compile here. */
  | 'policy'
  /** The entry is not one that this engine could have written. */
  | 'entry'

/** What the payload of an entry is for a replay. */
export type ReplayPayload = Readonly<Record<string, Json>> | 'none' | 'redacted'

const not = (why: NotReplayable, detail: string): Replay => ({ outcome: 'not_replayable', why, detail })

/**
 * Decides again. Never throws on a canonical entry of type `decision`.
 * @param policyOf a policy by the digest of its document, see `compileRecorded`; null when it is not there
 */
export function replayDecision(
  entry: DecisionEntry,
  payload: ReplayPayload,
  policyOf: (sha256: string) => CompiledPolicy | null,
): Replay {
  const runners = engineOf(entry)
  if (typeof runners === 'string') return not('engine', runners)
  if (payload === 'redacted') return not('redacted', 'the payload has been erased')
  const given = payload === 'none' ? {} : payload
  const request = readRequest({
    action: entry.action.raw,
    resource: entry.resource?.raw,
    arguments: given.arguments,
    context: given.context,
  })
  if (!request.ok) {
    const [first] = request.errors
    return not('entry', `the request cannot be read: ${first?.path ?? ''} ${first?.message ?? ''}`)
  }
  const agent = agentOf(entry)
  if (!agent) return not('entry', `the environment ${entry.subject.environment.slice(0, 64)} is not known`)
  const policies: PolicyRef[] = []
  for (const { scope, id, version, sha256 } of entry.policies) {
    const compiled = policyOf(sha256)
    if (!compiled)
      return not(
        'policy',
        `the policy with the digest ${sha256.slice(0, 64)} is not there or does not compile`,
      )
    if (!isScope(scope)) return not('policy', `the scope ${scope.slice(0, 64)} is not known`)
    policies.push({ scope, id, version, sha256, compiled })
  }
  const { action, resource } = request.value
  const fields: string[] = []
  if (action.key !== entry.action.key) fields.push('action.key')
  if (resource?.canonical !== entry.resource?.key) fields.push('resource.key')
  const facts = factsOf(entry)
  if (!facts) return not('entry', 'its facts about kill switches cannot be read')
  // What an agent decided by itself, it decided earlier than its entry was made, and only what it may.
  const at = Date.parse(entry.local?.decided_at ?? entry.ts)
  if (entry.local && requiresOnline(policies, request.value)) fields.push('local')
  const decision = recordedDecision(decideWith(runners, policies, request.value, agent, at, facts))
  if (decision.effect !== entry.decision.effect) fields.push('decision.effect')
  if (decision.code !== entry.decision.code) fields.push('decision.code')
  if (decision.reason !== entry.decision.reason) fields.push('decision.reason')
  if (!sameFindings(decision, entry.decision)) fields.push('decision.findings')
  return fields.length === 0 ? { outcome: 'same' } : { outcome: 'differs', fields, decision }
}

/** A policy document as the log keeps it, compiled. Zones are not looked up: their offsets are recorded facts. */
export function compileRecorded(document: string): CompiledPolicy | null {
  let source: unknown
  try {
    source = JSON.parse(document)
  } catch {
    return null
  }
  const compiled = compilePolicy(source, { isZone: () => true })
  return compiled.ok ? compiled.value : null
}

/** A decision as its entry records it. */
export const recordedDecision = ({ effect, code, reason, findings }: Decision): EntryDecision => ({
  effect,
  code,
  reason,
  findings: findings.map((finding) => ({
    stage: finding.stage,
    effect: finding.effect,
    code: finding.code,
    ...(finding.policy === null ? {} : { policy: finding.policy }),
    ...(finding.rule === '' ? {} : { rule: finding.rule }),
  })),
})

/** The facts of a decision as its entry records them: of the kill switches, those that it was denied by. */
export function recordedFacts(
  { kill, rules, approval }: Facts,
  { findings }: Decision,
): { readonly [stage: string]: Json } | undefined {
  if (kill.length === 0 && !approval) return rules && { rules: rules as Json }
  const pulled = kill.filter(({ id }) => findings.some(({ stage, rule }) => stage === 'kill' && rule === id))
  if (pulled.length === 0 && !approval) return rules && { rules: rules as Json }
  return {
    ...(approval && { approval: approval as unknown as Json }),
    ...(pulled.length > 0 && {
      kill: pulled.map(({ id, scope, target }) => ({ id, scope, ...(target !== undefined && { target }) })),
    }),
    ...(rules && { rules: rules as Json }),
  }
}

function factsOf({ facts }: DecisionEntry): Facts | null {
  const kills = readKillFacts(facts?.kill)
  return kills && { ...(facts as Omit<Facts, 'kill'> | undefined), kill: compileKills(kills) }
}

/** The stages that decided, or why this program may not speak for them. */
function engineOf({ engine }: DecisionEntry): readonly Runner[] | string {
  if (engine.semantics !== ENGINE.semantics)
    return `it was decided with semantics ${engine.semantics}, this program has ${ENGINE.semantics}`
  const runners = runnersOf(engine.stages)
  if (typeof runners === 'string')
    return `its stage ${runners.slice(0, 64)} had version ${engine.stages[runners] ?? 'none'}, which this program does not have`
  return runners.some(({ name }) => name === 'rules') ? runners : 'it was decided without the stage rules'
}

function agentOf({ actor, subject }: DecisionEntry): AgentFacts | null {
  const environment = ENVIRONMENTS.find((name) => name === subject.environment)
  if (!environment) return null
  return { agent_id: subject.agent_id, environment, team: subject.team, key_id: actor.key_id ?? '' }
}

const isScope = (scope: string): scope is Scope => SCOPES.some((known) => known === scope)

/** Order counts; a member that is not there is an absent one on both sides. */
const sameFindings = (a: EntryDecision, b: EntryDecision): boolean =>
  a.findings.length === b.findings.length &&
  a.findings.every((finding, i) => {
    const other = b.findings[i]
    return (
      other !== undefined &&
      finding.stage === other.stage &&
      finding.effect === other.effect &&
      finding.code === other.code &&
      finding.policy === other.policy &&
      finding.rule === other.rule
    )
  })
