import { type Result, err, ok } from '../result.js'
import { RISK_LEVELS, type RiskLevel } from '../risk.js'
import { type Level, NEVER_BY_TIMEOUT, type WidestGrant, type Workflow } from './workflow.js'

export interface WorkflowError {
  readonly path: string
  readonly message: string
}

const DAY = 86_400
export const LIMITS = {
  levels: 10,
  names: 50,
  approvals: 20,
  time_limit_seconds: 30 * DAY,
  grant_seconds: 30 * DAY,
  uses: 100_000,
} as const

type Members = Readonly<Record<string, unknown>>

const DEFAULTS = {
  approvals: 1,
  reason_required: false,
  first_denial_ends: true,
  creator_may_decide: true,
  grant_seconds: 3600,
} as const

/**
 * Reads a workflow strictly, all mistakes at once. Absent members have the values of `standard`; `widest_grant` is
 * null, because going beyond the one request must be allowed deliberately. Never throws on JSON.
 * @param roles names of the roles that the organization has
 * @param timeout_may_approve whether the organization opted in to approvals by mere passing of time
 */
export function readWorkflow(
  name: string,
  source: unknown,
  roles: ReadonlySet<string>,
  timeout_may_approve: boolean,
): Result<Workflow, WorkflowError[]> {
  const errors: WorkflowError[] = []
  const add = (path: string, message: string) => void errors.push({ path, message })
  const members = objectOf(source, '', KNOWN, add)
  const workflow: Workflow = {
    levels: readLevels(members.levels, roles, add),
    approvals: whole(members.approvals ?? DEFAULTS.approvals, 'approvals', 1, LIMITS.approvals, add),
    reason_required: flag(members.reason_required ?? DEFAULTS.reason_required, 'reason_required', add),
    first_denial_ends: flag(
      members.first_denial_ends ?? DEFAULTS.first_denial_ends,
      'first_denial_ends',
      add,
    ),
    on_timeout: readTimeout(name, members.on_timeout ?? 'deny', timeout_may_approve, add),
    escalate_at_risk: readRisk(members.escalate_at_risk ?? null, add),
    creator_may_decide: flag(
      members.creator_may_decide ?? DEFAULTS.creator_may_decide,
      'creator_may_decide',
      add,
    ),
    grant_seconds: whole(
      members.grant_seconds ?? DEFAULTS.grant_seconds,
      'grant_seconds',
      1,
      LIMITS.grant_seconds,
      add,
    ),
    widest_grant: readWidest(members.widest_grant ?? null, add),
  }
  return errors.length > 0 ? err(errors) : ok(workflow)
}

type Add = (path: string, message: string) => void

const KNOWN = [
  'levels',
  'approvals',
  'reason_required',
  'first_denial_ends',
  'on_timeout',
  'escalate_at_risk',
  'creator_may_decide',
  'grant_seconds',
  'widest_grant',
]

function readLevels(value: unknown, roles: ReadonlySet<string>, add: Add): Level[] {
  if (!Array.isArray(value) || value.length === 0 || value.length > LIMITS.levels) {
    add(
      'levels',
      `must be a list of 1 to ${LIMITS.levels} levels, such as [{"roles":["approver"],"time_limit_seconds":3600}]`,
    )
    return []
  }
  return value.map((level: unknown, i) => {
    const path = `levels[${i}]`
    const members = objectOf(level, path, ['roles', 'teams', 'time_limit_seconds'], add)
    const named = names(members.roles, `${path}.roles`, add)
    if (named.length === 0) add(`${path}.roles`, 'must name at least one role, or nobody could decide')
    for (const [n, role] of named.entries())
      if (!roles.has(role)) add(`${path}.roles[${n}]`, 'is no role of this organization')
    return {
      roles: named,
      teams: names(members.teams ?? [], `${path}.teams`, add),
      time_limit_seconds: whole(
        members.time_limit_seconds,
        `${path}.time_limit_seconds`,
        1,
        LIMITS.time_limit_seconds,
        add,
      ),
    }
  })
}

function readTimeout(name: string, value: unknown, may: boolean, add: Add): Workflow['on_timeout'] {
  if (value === 'deny') return 'deny'
  if (value !== 'approve') add('on_timeout', 'must be "deny" or "approve"')
  else if (NEVER_BY_TIMEOUT.has(name))
    add('on_timeout', `must be "deny": nothing ${name} is approved by waiting`)
  else if (!may)
    add('on_timeout', 'can be "approve" only after the organization opted in with PUT /approvals/settings')
  return 'approve'
}

function readRisk(value: unknown, add: Add): RiskLevel | null {
  const known = RISK_LEVELS.find((level) => level === value) ?? null
  if (known === null && value !== null)
    add('escalate_at_risk', `must be one of ${RISK_LEVELS.join(', ')}, or null`)
  return known
}

function readWidest(value: unknown, add: Add): WidestGrant | null {
  if (value === null) return null
  const members = objectOf(value, 'widest_grant', ['seconds', 'uses'], add)
  return {
    seconds: whole(members.seconds, 'widest_grant.seconds', 1, LIMITS.grant_seconds, add),
    uses: whole(members.uses, 'widest_grant.uses', 1, LIMITS.uses, add),
  }
}

function names(value: unknown, path: string, add: Add): string[] {
  const valid =
    Array.isArray(value) &&
    value.length <= LIMITS.names &&
    value.every((name) => typeof name === 'string' && name !== '' && name.length <= 255)
  if (valid) return [...new Set(value as string[])]
  add(path, `must be a list of at most ${LIMITS.names} names`)
  return []
}

function whole(value: unknown, path: string, min: number, max: number, add: Add): number {
  if (Number.isInteger(value) && Number(value) >= min && Number(value) <= max) return Number(value)
  add(path, `must be a whole number from ${min} to ${max}`)
  return min
}

function flag(value: unknown, path: string, add: Add): boolean {
  if (typeof value !== 'boolean') add(path, 'must be true or false')
  return value === true
}

function objectOf(value: unknown, path: string, known: readonly string[], add: Add): Members {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    add(path, 'must be an object')
    return {}
  }
  for (const key of Object.keys(value)) {
    if (!known.includes(key))
      add(
        path === '' ? key.slice(0, 64) : `${path}.${key.slice(0, 64)}`,
        `is not known here; known are ${known.join(', ')}`,
      )
  }
  return Object.fromEntries(Object.entries(value))
}
