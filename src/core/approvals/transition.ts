/**
 * The life of an approval: pending → approved | denied | expired | cancelled (row C8). Pure: what is, what happens and
 * when go in; what is then, and what is to be recorded, come out. Nothing leaves a decided approval, but that what was
 * granted can be taken back: then it is cancelled.
 */
import type { Result } from '../result.js'
import { err, ok } from '../result.js'
import { type Candidate, type CombinedWorkflow, mayDecide } from './workflow.js'

export const APPROVAL_STATUSES = ['pending', 'approved', 'denied', 'expired', 'cancelled'] as const
export type ApprovalStatus = (typeof APPROVAL_STATUSES)[number]

export interface Vote {
  /** Who stands behind the credentials: nobody votes twice through several keys. */
  readonly person: string
  readonly effect: 'approve' | 'deny'
}

export interface ApprovalState {
  readonly status: ApprovalStatus
  /** From 0. */
  readonly level: number
  /** When the time of this level is over, in milliseconds. */
  readonly level_ends_at: number
  readonly votes: readonly Vote[]
}

export type ApprovalEvent =
  | {
      readonly kind: 'vote'
      readonly vote: Vote
      readonly candidate: Candidate
      readonly reason: string | null
    }
  | { readonly kind: 'time' }
  | { readonly kind: 'cancel' }
  /** A grant is taken back. `usable`: some of it could still be used. */
  | { readonly kind: 'revoke'; readonly usable: boolean }

/** What is to be recorded, in order. */
export type Happened = 'voted' | 'escalated' | 'approved' | 'denied' | 'expired' | 'cancelled' | 'revoked'

export type Refusal =
  | { readonly why: 'decided'; readonly status: ApprovalStatus }
  /** The requester, or who stands behind the agent, votes. */
  | { readonly why: 'self' }
  | { readonly why: 'role' }
  | { readonly why: 'voted' }
  | { readonly why: 'reason' }
  /** Nothing was granted, so nothing can be taken back. */
  | { readonly why: 'pending' }
  /** All that was granted is used up or over. */
  | { readonly why: 'spent' }

export interface Step {
  readonly state: ApprovalState
  readonly happened: readonly Happened[]
}

export interface Bounds {
  readonly workflow: CombinedWorkflow
  /** Nobody of these may decide. */
  readonly requesters: readonly string[]
  /** Nor these, unless the workflow lets them. */
  readonly creators: readonly string[]
  /** Whether the organization lets time approve, where the workflow says so. */
  readonly timeout_may_approve: boolean
}

/** A new approval. */
export const begin = ({ levels }: CombinedWorkflow, now: number): ApprovalState => ({
  status: 'pending',
  level: 0,
  level_ends_at: now + (levels[0]?.time_limit_seconds ?? 0) * 1000,
  votes: [],
})

/**
 * What an event does. The time that has passed is counted first: who votes too late votes at the level that is due, or
 * on an expired approval.
 */
export function step(
  before: ApprovalState,
  event: ApprovalEvent,
  now: number,
  bounds: Bounds,
): Result<Step, Refusal> {
  const { state, happened } = passTime(before, now, bounds)
  if (event.kind === 'time') return ok({ state, happened })
  if (event.kind === 'revoke') return revoke(state, event.usable, happened)
  if (state.status !== 'pending') return err({ why: 'decided', status: state.status })
  if (event.kind === 'cancel') {
    return ok({ state: { ...state, status: 'cancelled' }, happened: [...happened, 'cancelled'] })
  }
  const { vote, candidate, reason } = event
  const refusal = refusalOf(state, vote, candidate, reason, bounds)
  if (refusal) return err(refusal)
  const voted: ApprovalState = { ...state, votes: [...state.votes, vote] }
  const outcome = outcomeOf(voted, bounds.workflow)
  return ok({
    state: { ...voted, status: outcome ?? 'pending' },
    happened: [...happened, 'voted', ...(outcome ? [outcome] : [])],
  })
}

function revoke(state: ApprovalState, usable: boolean, happened: readonly Happened[]): Result<Step, Refusal> {
  if (state.status === 'pending') return err({ why: 'pending' })
  if (state.status !== 'approved') return err({ why: 'decided', status: state.status })
  if (!usable) return err({ why: 'spent' })
  return ok({ state: { ...state, status: 'cancelled' }, happened: [...happened, 'revoked'] })
}

function passTime(before: ApprovalState, now: number, { workflow, timeout_may_approve }: Bounds): Step {
  let state = before
  const happened: Happened[] = []
  while (state.status === 'pending' && now >= state.level_ends_at) {
    const next = workflow.levels[state.level + 1]
    if (next) {
      // From the end of the level before, not from now: a service that slept does not give more time.
      const level_ends_at = state.level_ends_at + next.time_limit_seconds * 1000
      state = { ...state, level: state.level + 1, level_ends_at }
      happened.push('escalated')
      continue
    }
    const status = workflow.on_timeout === 'approve' && timeout_may_approve ? 'approved' : 'expired'
    state = { ...state, status }
    happened.push(status)
  }
  return { state, happened }
}

function refusalOf(
  { votes, level }: ApprovalState,
  { person, effect }: Vote,
  candidate: Candidate,
  reason: string | null,
  { workflow, requesters, creators }: Bounds,
): Refusal | null {
  if (!mayDecide(workflow, level, candidate)) return { why: 'role' }
  // Whoever asked may withdraw or stop it, never approve it.
  if (effect === 'approve') {
    if (requesters.includes(person)) return { why: 'self' }
    if (!workflow.creator_may_decide && creators.includes(person)) return { why: 'self' }
  }
  if (votes.some((vote) => vote.person === person)) return { why: 'voted' }
  return workflow.reason_required && reason === null ? { why: 'reason' } : null
}

function outcomeOf({ votes }: ApprovalState, workflow: CombinedWorkflow): 'approved' | 'denied' | null {
  const count = (effect: Vote['effect']) =>
    new Set(votes.filter((vote) => vote.effect === effect).map(({ person }) => person)).size
  const denials = workflow.first_denial_ends ? 1 : workflow.approvals
  if (count('deny') >= denials) return 'denied'
  return count('approve') >= workflow.approvals ? 'approved' : null
}
