import type { Role } from '../permissions.js'
import type { RiskLevel } from '../risk.js'
import type { RiskChoice } from './risk-workflows.js'

/** Who may decide while an approval is at this level, and how long it stays there. */
export interface Level {
  /** Names of roles, built-in or the organization's own. An owner may decide wherever an admin may. */
  readonly roles: readonly string[]
  /** Empty: any team. Otherwise administrators of one of these, or of the whole organization. */
  readonly teams: readonly string[]
  readonly time_limit_seconds: number
}

/** How far approvers may deliberately go beyond the one request that waits. */
export interface WidestGrant {
  readonly seconds: number
  readonly uses: number
}

/** How a person's answer comes about (rows CP-86, C25, C28). */
export interface Workflow {
  /** In order: when the time of one is over, the next begins; after the last comes `on_timeout`. */
  readonly levels: readonly Level[]
  /** How many different people must approve. */
  readonly approvals: number
  readonly reason_required: boolean
  /** Whether the first denial ends it; otherwise as many denials as approvals are needed. */
  readonly first_denial_ends: boolean
  readonly on_timeout: 'deny' | 'approve'
  /** Agents of this risk and above begin at the second level; null: none does. */
  readonly escalate_at_risk: RiskLevel | null
  /** Whether whoever made the agent, or the key that asked, may decide: false in the stricter workflows. */
  readonly creator_may_decide: boolean
  /** How long an approval can be used after it was given. */
  readonly grant_seconds: number
  /** Null: approvers can grant nothing but the one request. */
  readonly widest_grant: WidestGrant | null
}

export const DEFAULT_WORKFLOW = 'standard'
/** Never approved by mere passing of time, whatever the organization opted in to (row C28). */
export const NEVER_BY_TIMEOUT: ReadonlySet<string> = new Set(['critical'])

const HOUR = 3600
const ADMINS: readonly Role[] = ['admin']
const APPROVERS: readonly Role[] = ['approver', 'admin']

/** What every organization has until it changes them (row CP-86). */
export const SHIPPED_WORKFLOWS: Readonly<Record<string, Workflow>> = {
  standard: {
    levels: [
      { roles: APPROVERS, teams: [], time_limit_seconds: HOUR },
      { roles: ADMINS, teams: [], time_limit_seconds: HOUR },
    ],
    approvals: 1,
    reason_required: false,
    first_denial_ends: true,
    on_timeout: 'deny',
    escalate_at_risk: null,
    creator_may_decide: true,
    grant_seconds: HOUR,
    widest_grant: { seconds: 24 * HOUR, uses: 1000 },
  },
  'high-risk': {
    levels: [
      { roles: APPROVERS, teams: [], time_limit_seconds: HOUR / 2 },
      { roles: ADMINS, teams: [], time_limit_seconds: HOUR / 2 },
    ],
    approvals: 2,
    reason_required: true,
    first_denial_ends: true,
    on_timeout: 'deny',
    escalate_at_risk: 'high',
    creator_may_decide: false,
    grant_seconds: HOUR / 2,
    widest_grant: { seconds: HOUR, uses: 10 },
  },
  critical: {
    levels: [{ roles: ADMINS, teams: [], time_limit_seconds: HOUR / 4 }],
    approvals: 2,
    reason_required: true,
    first_denial_ends: true,
    on_timeout: 'deny',
    escalate_at_risk: null,
    creator_may_decide: false,
    grant_seconds: HOUR / 4,
    widest_grant: null,
  },
}

/** A name that a rule can call a workflow by. */
export const WORKFLOW_NAME = /^[a-z][a-z0-9-]{0,62}$/

/** Who may decide at one level: every group must be satisfied, by one and the same person. */
export interface CombinedLevel {
  readonly who: readonly Pick<Level, 'roles' | 'teams'>[]
  readonly time_limit_seconds: number
}

/** The workflow of one approval, frozen when it is made: what later changes of a workflow do not touch. */
export interface CombinedWorkflow extends Omit<Workflow, 'levels' | 'escalate_at_risk'> {
  /** The strictest first. */
  readonly names: readonly string[]
  readonly levels: readonly CombinedLevel[]
  /** Absent on an approval from before agents had a risk. */
  readonly risk?: RiskChoice
}

/**
 * The strictest of several workflows in each respect: a request that two rules hold back waits for who may decide by
 * both. With one workflow: that workflow.
 * @param named at least one
 */
export function combineWorkflows(named: Readonly<Record<string, Workflow>>): CombinedWorkflow {
  const sorted = Object.entries(named).sort(([a, x], [b, y]) => stricter(x, y) || (a < b ? -1 : 1))
  const all = sorted.map(([, workflow]) => workflow)
  const [strictest] = all
  if (!strictest) throw new RangeError('an approval needs a workflow')
  const widest = all.map(({ widest_grant }) => widest_grant)
  return {
    names: sorted.map(([name]) => name),
    levels: strictest.levels.map((level, i) => ({
      who: all.map(({ levels }) => whoAt(levels, i)),
      time_limit_seconds: Math.min(
        level.time_limit_seconds,
        ...all.map(({ levels }) => levels[i]?.time_limit_seconds ?? Infinity),
      ),
    })),
    approvals: Math.max(...all.map(({ approvals }) => approvals)),
    reason_required: all.some(({ reason_required }) => reason_required),
    first_denial_ends: all.some(({ first_denial_ends }) => first_denial_ends),
    on_timeout: all.every(({ on_timeout }) => on_timeout === 'approve') ? 'approve' : 'deny',
    creator_may_decide: all.every(({ creator_may_decide }) => creator_may_decide),
    grant_seconds: Math.min(...all.map(({ grant_seconds }) => grant_seconds)),
    widest_grant: widest.every((grant) => grant !== null)
      ? {
          seconds: Math.min(...widest.map(({ seconds }) => seconds)),
          uses: Math.min(...widest.map(({ uses }) => uses)),
        }
      : null,
  }
}

function stricter(a: Workflow, b: Workflow): number {
  const time = ({ levels }: Workflow) => levels.reduce((sum, level) => sum + level.time_limit_seconds, 0)
  return b.approvals - a.approvals || time(a) - time(b)
}

function whoAt(levels: readonly Level[], i: number): Pick<Level, 'roles' | 'teams'> {
  const level = levels[Math.min(i, levels.length - 1)]
  return { roles: level?.roles ?? [], teams: level?.teams ?? [] }
}

/** What is asked of somebody before their vote counts. */
export interface Candidate {
  readonly roles: readonly string[]
  /** Null: the whole organization. */
  readonly team: string | null
}

/** Whether a person may decide at this level (counted from 0). */
export function mayDecide({ levels }: CombinedWorkflow, level: number, { roles, team }: Candidate): boolean {
  const held = new Set(roles)
  if (held.has('owner')) held.add('admin')
  const who = levels[level]?.who
  if (!who) return false
  return who.every(
    (group) =>
      group.roles.some((role) => held.has(role)) &&
      (group.teams.length === 0 || team === null || group.teams.includes(team)),
  )
}
