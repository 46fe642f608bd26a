import type { Approval, ApprovalTerms, AskingRule } from './approvals.dto.js'
import { scopeOf, type StoredApproval, statusOf, workflowOf } from './approvals.record.js'

/**
 * An approval as it is shown, without what the agent sent along.
 * @param rule the first one that asked
 */
export function viewOf(row: StoredApproval, rule: AskingRule | undefined): Approval {
  const workflow = workflowOf(row)
  const { grant_expires_at, grant_uses } = row
  return {
    approval_id: row.approval_id,
    status: statusOf(row),
    agent_id: row.agent_id,
    environment: row.environment,
    team: row.agent.owner_team,
    action: row.action_raw,
    resource: row.resource_raw,
    reason: row.request_reason,
    rule: rule ?? null,
    decision_id: row.decision_id,
    workflows: workflow.names,
    risk_level: workflow.risk?.level ?? null,
    level: row.level + 1,
    levels: workflow.levels.length,
    approvals_needed: workflow.approvals,
    reason_required: workflow.reason_required,
    votes: row.events.flatMap(({ event, person, vote, actor_id, reason, at }) =>
      event === 'voted' && person !== null
        ? [
            {
              person,
              vote: vote === 'approve' ? ('approve' as const) : ('deny' as const),
              by: actor_id,
              reason,
              at,
            },
          ]
        : [],
    ),
    created_at: row.created_at,
    expires_at: row.level_ends_at,
    decision_reason: row.decision_reason,
    decision_by: row.decided_by,
    decision_at: row.decided_at,
    grant:
      grant_expires_at && grant_uses !== null
        ? { scope: scopeOf(row), uses: grant_uses, used: row.grant_used, expires_at: grant_expires_at }
        : null,
  }
}

/** By which rules it is decided. */
export function termsOf(row: Pick<StoredApproval, 'workflow'>): ApprovalTerms {
  const { levels, first_denial_ends, on_timeout, creator_may_decide, grant_seconds, widest_grant } =
    workflowOf(row)
  return { levels, first_denial_ends, on_timeout, creator_may_decide, grant_seconds, widest_grant }
}
