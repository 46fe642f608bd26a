/**
 * Every code a decision can carry, once. Programs switch on `code`; people read `reason` (pipeline.md, row C5).
 * A new rule kind adds its codes here; a code is never renamed, because old ledger entries keep it.
 */
export const CODES = {
  allow_rule: 'An allow rule matched, and nothing stricter did',
  deny_rule: 'A deny rule matched',
  approval_rule: 'An approval rule matched: a person must decide',
  default_deny: 'No rule matched',
  no_policy: 'No policy applies to the agent',
  kill_switch_active: 'A kill switch covers the agent or the action',
  time_limit: 'A limit per period of time is used up',
  fact_missing: 'A matching rule has a condition that could not be evaluated',
  approval_granted: 'People approved what an approval rule held back',
  approval_not_found: 'The agent has no approval with this id',
  approval_mismatch: 'The request is not the one that was approved',
  approval_used: 'The approval has been used up',
  approval_expired: 'The approval was not decided, or not used, in time',
  approval_denied: 'The approval was denied',
  approval_cancelled: 'The approval was cancelled',
  approval_outdated: 'The policy now asks for another approval than was given',
  approval_limit: 'As many requests wait for people as may',
  stage_error: 'A rule kind failed or answered what it may not answer',
} as const

export type Code = keyof typeof CODES

/** The three rule lists of a policy, in the order in which they win (row C4). */
export const RULE_LISTS = ['deny', 'require_approval', 'allow'] as const
export type RuleList = (typeof RULE_LISTS)[number]

const LIST_NAMES: Record<RuleList, string> = { allow: 'allow', deny: 'deny', require_approval: 'approval' }

/** `Matched allow rule: read:file on s3://docs/*`. Rule text as typed; a rule without a resource prints `*` (row C5). */
export function matchedReason(list: RuleList, action: string, resource: string | null): string {
  return `Matched ${LIST_NAMES[list]} rule: ${ruleText(action, resource)}`
}

/** The reason of `fact_missing`: the action and resource of a rule match, its condition cannot be evaluated. */
export function factMissingReason(list: RuleList, action: string, resource: string | null): string {
  return `Cannot evaluate the condition of ${LIST_NAMES[list]} rule: ${ruleText(action, resource)} (deny)`
}

/** The reason of `kill_switch_active`. Why it was pulled is for administrators, who see it at `GET /kill-switch`. */
export function killReason(scope: string, target: string | undefined): string {
  return `A kill switch is active for the ${scope}${target === undefined ? '' : ` ${target}`}`
}

/** The reason of `fact_missing` when it is a whole stage that was told nothing. */
export function factMissingOf(stage: string): string {
  return `The facts of the ${stage} stage are missing (deny)`
}

const APPROVAL_REASONS = {
  approval_granted: (id: string) => `Approved by people: ${id}`,
  approval_not_found: (id: string) =>
    `There is no approval ${id} of this agent; ask again without approval_id`,
  approval_mismatch: (id: string) => `Approval ${id} is for another request: nothing of it may change`,
  approval_used: (id: string) => `Approval ${id} has been used up; ask again without approval_id`,
  approval_expired: (id: string) => `Approval ${id} has expired; ask again without approval_id`,
  approval_denied: (id: string) => `Approval ${id} was denied`,
  approval_cancelled: (id: string) => `Approval ${id} was cancelled; ask again without approval_id`,
  approval_outdated: (id: string) =>
    `The policy now asks for more than approval ${id} gave; ask again without approval_id`,
} as const satisfies Partial<Record<Code, (id: string) => string>>

/** The reason of a decision for which an approval was named. */
export function approvalReason(code: keyof typeof APPROVAL_REASONS, id: string): string {
  return APPROVAL_REASONS[code](id)
}

/** The reason of `approval_limit`. */
export function waitingReason(of: 'agent' | 'organization', limit: number): string {
  return `As many requests of the ${of} wait for people as may (${limit}); ask again when some are decided, or let an administrator raise the limit`
}

/** The reason of `stage_error`. What went wrong is for the log, not for the agent. */
export function stageErrorReason(stage: string): string {
  return `The ${stage} stage failed (deny)`
}

export const DEFAULT_DENY_REASON = 'No matching allow rule (default deny)'
export const NO_POLICY_REASON = 'No policy defined for agent (default deny)'

function ruleText(action: string, resource: string | null): string {
  return `${action} on ${resource === null || resource === '' ? '*' : resource}`
}
