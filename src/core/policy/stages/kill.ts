import type { Json } from '../../ledger/canonical.js'
import type { ActionReading } from '../action.js'
import { factMissingOf, killReason, stageErrorReason } from '../codes.js'
import { compileDenyAction } from '../pattern.js'
import type { AgentFacts, CanonicalRequest } from '../stage.js'
import type { RunInput, Runner, StagedFinding } from './runner.js'

/** What a kill switch stops, widest first: the order in which they are reported. */
export const KILL_SCOPES = [
  'installation',
  'organization',
  'environment',
  'team',
  'agent',
  'key',
  'action',
] as const
export type KillScope = (typeof KILL_SCOPES)[number]

/** One active kill switch, as the platform knows it and as an entry that it denied records it. */
export interface KillFact {
  readonly id: string
  readonly scope: KillScope
  /** The environment, team, agent id, key id or action pattern; absent for the widest two scopes. */
  readonly target?: string
}

/** A kill switch ready to decide with. Immutable, safe to share. */
export interface ActiveKill extends KillFact {
  /** Of scope `action`: whether it stops this action. */
  readonly stops?: (action: ActionReading) => boolean
}

export const KILL_STAGE_VERSION = 1

/** Makes switches ready, widest first. A pattern that cannot be read stops every action: closed by default. */
export function compileKills(facts: readonly KillFact[]): readonly ActiveKill[] {
  const order = ({ scope, id }: KillFact): string => `${KILL_SCOPES.indexOf(scope)} ${id}`
  return facts
    .map((fact): ActiveKill => {
      if (fact.scope !== 'action') return fact
      const pattern = compileDenyAction(fact.target ?? '')
      return { ...fact, stops: pattern.ok ? (action) => pattern.value.matches(action) : () => true }
    })
    .sort((a, b) => (order(a) < order(b) ? -1 : 1))
}

/** Kill switches as an entry records them; null when it is something else. */
export function readKillFacts(value: Json | undefined): readonly KillFact[] | null {
  if (value === undefined) return []
  if (!Array.isArray(value)) return null
  const facts: KillFact[] = []
  for (const item of value as readonly Json[]) {
    if (typeof item !== 'object' || item === null || Array.isArray(item)) return null
    const { id, scope, target } = item as { readonly [key: string]: Json }
    const known = KILL_SCOPES.find((name) => name === scope)
    if (typeof id !== 'string' || known === undefined) return null
    if (target !== undefined && typeof target !== 'string') return null
    facts.push({ id, scope: known, ...(target !== undefined && { target }) })
  }
  return facts
}

/**
 * Kill switches: before every rule, and only ever a deny. Which ones are active is a fact, never a policy; without that
 * fact nothing is allowed. Stops at the first one unless `explain` is asked for.
 */
export const killRunner: Runner = {
  name: 'kill',
  version: KILL_STAGE_VERSION,
  needs: () => [],
  rule: () => null,
  run(_, input) {
    const findings: StagedFinding[] = []
    const outcome = { findings, guards: [], near_misses: [] }
    try {
      collect(input, findings)
      return outcome
    } catch (failure) {
      findings.push({ ...DENIED, code: 'stage_error', reason: stageErrorReason('kill'), rule: '' })
      return { ...outcome, failure }
    }
  },
}

function collect({ request, agent, facts, explain }: RunInput, findings: StagedFinding[]): void {
  const kills: readonly ActiveKill[] | undefined = facts.kill
  if (!Array.isArray(kills)) {
    findings.push({ ...DENIED, code: 'fact_missing', reason: factMissingOf('kill'), rule: '' })
    return
  }
  for (const kill of kills as readonly ActiveKill[]) {
    if (!covers(kill, request, agent)) continue
    const { id, scope, target } = kill
    findings.push({ ...DENIED, code: 'kill_switch_active', reason: killReason(scope, target), rule: id })
    if (!explain) return
  }
}

const DENIED = { stage: 'kill', effect: 'deny', policy: null } as const

function covers({ scope, target, stops }: ActiveKill, request: CanonicalRequest, agent: AgentFacts): boolean {
  switch (scope) {
    case 'installation':
    case 'organization':
      return true
    case 'environment':
      return agent.environment === target
    case 'team':
      return agent.team === target
    case 'agent':
      return agent.agent_id === target
    case 'key':
      // Whoever decides without saying which key asked is held to be asking with this one.
      return agent.key_id === undefined || agent.key_id === target
    case 'action':
      return stops?.(request.action) ?? true
  }
}
