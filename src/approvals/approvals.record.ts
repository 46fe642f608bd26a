import type { ApprovalState, ApprovalStatus, Bounds, Vote } from '../core/approvals/transition.js'
import { classOf } from '../core/approvals/risk-workflows.js'
import type { CombinedWorkflow } from '../core/approvals/workflow.js'
import type { ApprovalEntry, Subject } from '../core/ledger/entry.js'
import type { GrantScope, LiftedRule } from '../core/policy/grants.js'
import type { Tx } from '../platform/database/database.service.js'

const WITH_HISTORY = { events: { orderBy: { seq: 'asc' } }, agent: { select: { owner_team: true } } } as const

/** An approval with everything that happened to it, as it lies in the database. */
export type StoredApproval = NonNullable<Awaited<ReturnType<typeof readApproval>>>

export function readApproval(tx: Tx, org_id: string, approval_id: string) {
  return tx.approval.findUnique({
    where: { org_id_approval_id: { org_id, approval_id } },
    include: WITH_HISTORY,
  })
}

// The parsers of what this folder alone has written.
export const workflowOf = ({ workflow }: Pick<StoredApproval, 'workflow'>): CombinedWorkflow =>
  workflow as unknown as CombinedWorkflow
export const liftsOf = ({ lifts }: Pick<StoredApproval, 'lifts'>): readonly LiftedRule[] =>
  lifts as unknown as LiftedRule[]
export const scopeOf = ({ scope }: Pick<StoredApproval, 'scope'>): GrantScope | null =>
  scope as unknown as GrantScope | null
const namesOf = (value: unknown): readonly string[] => value as string[]

export const statusOf = ({ status }: Pick<StoredApproval, 'status'>): ApprovalStatus =>
  status as ApprovalStatus

export const votesOf = ({ events }: Pick<StoredApproval, 'events'>): Vote[] =>
  events.flatMap(({ event, person, vote }) =>
    event === 'voted' && person !== null ? [{ person, effect: vote === 'approve' ? 'approve' : 'deny' }] : [],
  )

/** Whether some of a grant can still be used, by the database's time in milliseconds. */
export const isUsable = (
  row: Pick<StoredApproval, 'grant_used' | 'grant_uses' | 'grant_expires_at'>,
  now: number,
): boolean => row.grant_used < (row.grant_uses ?? 0) && now < (row.grant_expires_at?.getTime() ?? 0)

/** When a pending approval ends if nobody decides: when the time of its last level is over. */
export function endOf(row: Pick<StoredApproval, 'workflow' | 'level' | 'level_ends_at'>): Date {
  const later = workflowOf(row).levels.slice(row.level + 1)
  const seconds = later.reduce((sum, { time_limit_seconds }) => sum + time_limit_seconds, 0)
  return new Date(row.level_ends_at.getTime() + seconds * 1000)
}

/** What the pure transitions work on. */
export const stateOf = (row: StoredApproval): ApprovalState => ({
  status: statusOf(row),
  level: row.level,
  level_ends_at: row.level_ends_at.getTime(),
  votes: votesOf(row),
})

export const boundsOf = (row: StoredApproval, timeout_may_approve: boolean): Bounds => ({
  workflow: workflowOf(row),
  requesters: namesOf(row.requesters),
  creators: namesOf(row.creators),
  timeout_may_approve,
})

/** How an entry names the risk of an agent that somebody has rated, and the workflow that was chosen by it. */
export function recordedRisk({ risk }: CombinedWorkflow): Pick<ApprovalEntry['approval'], 'risk'> {
  if (!risk || (risk.level === null && risk.workflow === null)) return {}
  const { level, workflow } = risk
  return { risk: { level: classOf(level), ...(workflow !== null && { workflow }) } }
}

/** How the log names the agent and the request of an approval. */
export function subjectOf(
  row: Pick<
    StoredApproval,
    'agent_id' | 'environment' | 'agent' | 'action_raw' | 'action_key' | 'resource_raw' | 'resource_key'
  >,
): Pick<ApprovalEntry, 'subject' | 'action' | 'resource'> {
  const { agent_id, environment, resource_raw, resource_key } = row
  const subject: Subject = { agent_id, environment, team: row.agent.owner_team }
  return {
    subject,
    action: { raw: row.action_raw, key: row.action_key },
    ...(resource_raw !== null &&
      resource_key !== null && { resource: { raw: resource_raw, key: resource_key } }),
  }
}
