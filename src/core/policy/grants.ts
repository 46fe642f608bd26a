import { approvalReason, type Code, factMissingOf, waitingReason } from './codes.js'
import { compileAllowAction, compileResource } from './pattern.js'
import type { CanonicalRequest } from './stage.js'
import type { StagedFinding } from './stages/runner.js'

/** A rule that asked for a person, named by its text: a change elsewhere in the policy leaves its approval standing. */
export interface LiftedRule {
  /** Id of the policy; empty for a finding that no rule of a policy made. */
  readonly policy: string
  readonly action: string
  readonly resource: string | null
  readonly workflow: string | null
  /** Its conditions on the request as canonical JSON; absent when it has none. A wider grant lifts no other ones. */
  readonly request?: string
}

/** What a wider grant covers: read narrowly, as an allow rule is. */
export interface GrantScope {
  readonly action: string
  readonly resource: string | null
}

/** Why an approval that a request named does not help it. */
export const REFUSALS = [
  'approval_not_found',
  'approval_mismatch',
  'approval_used',
  'approval_expired',
  'approval_denied',
  'approval_cancelled',
] as const satisfies readonly Code[]
export type ApprovalRefusal = (typeof REFUSALS)[number]

/** Why people cannot be asked: as many requests of the agent, or of all agents, wait as may. */
export interface FullFact {
  readonly full: 'agent' | 'organization'
  readonly limit: number
}

/**
 * What is known of the approval that a request names, or that none can be made for it: a recorded fact, like every other
 * one (pipeline.md).
 */
export type GrantFact =
  | FullFact
  | {
      readonly id: string
      /** base64url of the salted SHA-256 over the request that was approved. */
      readonly digest: string
      /** The how manieth use this is, from 1. */
      readonly use: number
      readonly lifts: readonly LiftedRule[]
      /** Present when approvers granted more than the one request. */
      readonly scope?: GrantScope
    }
  | { readonly id: string; readonly refused: ApprovalRefusal }

/** The fact about a named approval as an entry records it; null when it is something else, which then denies. */
export function readGrantFact(value: unknown): GrantFact | null {
  if (!isObject(value)) return null
  if (value.full !== undefined) return readFullFact(value)
  if (typeof value.id !== 'string') return null
  const { id, refused, digest, use, lifts, scope } = value
  if (refused !== undefined) {
    const known = REFUSALS.find((code) => code === refused)
    return known ? { id, refused: known } : null
  }
  if (typeof digest !== 'string' || !Number.isSafeInteger(use) || !Array.isArray(lifts)) return null
  if (!lifts.every(isLiftedRule)) return null
  if (scope === undefined) return { id, digest, use: Number(use), lifts }
  return isScope(scope) ? { id, digest, use: Number(use), lifts, scope } : null
}

function readFullFact({ full, limit }: Members): FullFact | null {
  if ((full !== 'agent' && full !== 'organization') || !Number.isSafeInteger(limit)) return null
  return { full, limit: Number(limit) }
}

type Members = Readonly<Record<string, unknown>>
const isObject = (value: unknown): value is Members => typeof value === 'object' && value !== null
const isText = (value: unknown): boolean => typeof value === 'string'
const isTextOrNull = (value: unknown): boolean => value === null || typeof value === 'string'
const isLiftedRule = (value: unknown): value is LiftedRule =>
  isObject(value) &&
  isText(value.policy) &&
  isText(value.action) &&
  isTextOrNull(value.resource) &&
  isTextOrNull(value.workflow) &&
  (value.request === undefined || isText(value.request))
const isScope = (value: unknown): value is GrantScope =>
  isObject(value) && isText(value.action) && isTextOrNull(value.resource)

/** Found when what is said of an approval cannot be read. */
export const unreadableFinding: StagedFinding = {
  stage: 'rules',
  effect: 'deny',
  code: 'fact_missing',
  reason: factMissingOf('approval'),
  policy: null,
  rule: '',
}

/** Whether a wider grant covers a request; false also for a scope that does not compile. */
export function covers({ action, resource }: GrantScope, request: CanonicalRequest): boolean {
  const matcher = compileAllowAction(action)
  if (!matcher.ok || !matcher.value.matches(request.action)) return false
  if (resource === null || resource === '*') return true
  const pattern = compileResource(resource)
  if (!pattern.ok || request.resource === null) return false
  return pattern.value.matches(request.resource.sent) && pattern.value.matches(request.resource.canonical)
}

/** A pending finding after a grant that names it: what the rule asked for has happened. */
export const lifted = (finding: StagedFinding, id: string): StagedFinding => ({
  ...finding,
  effect: 'allow',
  code: 'approval_granted',
  reason: approvalReason('approval_granted', id),
})

/** What an approval that does not help adds to the findings: asking with it is refused, not decided without it. */
export const refusedFinding = ({ id, refused }: Extract<GrantFact, { refused: unknown }>): StagedFinding => ({
  stage: 'rules',
  effect: 'deny',
  code: refused,
  reason: approvalReason(refused, id),
  policy: null,
  rule: '',
})

/** Found when a person must decide and nobody can be asked. */
export const fullFinding = ({ full, limit }: FullFact): StagedFinding => ({
  stage: 'rules',
  effect: 'deny',
  code: 'approval_limit',
  reason: waitingReason(full, limit),
  policy: null,
  rule: '',
})

/** Found when a person must decide all the same: about a rule that the grant does not name. */
export const outdatedFinding = (id: string): StagedFinding => ({
  stage: 'rules',
  effect: 'deny',
  code: 'approval_outdated',
  reason: approvalReason('approval_outdated', id),
  policy: null,
  rule: '',
})

export const isSameRule = (a: LiftedRule, b: LiftedRule): boolean =>
  a.policy === b.policy &&
  a.action === b.action &&
  a.resource === b.resource &&
  a.workflow === b.workflow &&
  a.request === b.request
