import type { Subject } from '../core/ledger/entry.js'
import { compileDenyAction } from '../core/policy/pattern.js'
import type { KillScope } from '../core/policy/stages/kill.js'
import { agentNotFound, Problem } from '../core/problems.js'
import type { Principal } from '../platform/access/principal.js'
import { assertReaches, reaches } from '../platform/access/scope.js'
import { ENVIRONMENTS, shortEnvironment } from '../platform/http/fields.js'
import type { HeldTarget } from './kill-switch.queries.js'

/** The columns that name what is stopped: exactly what the scope needs, all others null. */
export interface TargetColumns {
  readonly environment: string | null
  readonly team: string | null
  readonly agent_id: string | null
  readonly key_id: string | null
  readonly action: string | null
}

/** What is stopped, found in the caller's own organization. */
export interface Found {
  readonly columns: TargetColumns
  /** The agent that an agent or key switch is about; held until the commit. */
  readonly subject: Subject | undefined
}

const NOTHING: TargetColumns = { environment: null, team: null, agent_id: null, key_id: null, action: null }

/** How the target is written in an entry and on the wire; null for the widest two scopes. */
export const targetOf = (row: TargetColumns): string | null =>
  row.environment ?? row.team ?? row.key_id ?? row.agent_id ?? row.action

/** The target of a request as a switch has it: environments under their short names. */
export function storedTarget(scope: KillScope | undefined, target: string | undefined): string | null {
  if (target === undefined) return null
  return (scope === 'environment' && environmentOf(target)) || target
}

/** An environment by its long or short name; undefined when there is none of that name. */
const environmentOf = (name: string) => ENVIRONMENTS.find((one) => one === shortEnvironment(name))

/**
 * What a scope and target name, by their form alone; of a key without its agent.
 * @throws Problem `validation_failed` for a target that does not go with the scope; `forbidden` for a scope wider than
 * the principal's team
 */
export function readTarget(
  principal: Principal,
  scope: KillScope,
  target: string | undefined,
): TargetColumns {
  if (scope === 'installation' || scope === 'organization') {
    if (target !== undefined) throw wrongTarget(`is not given for the scope ${scope}`)
  } else if (target === undefined) throw wrongTarget(`is required for the scope ${scope}`)
  assertMayStop(principal, scope)
  const name = target ?? ''
  switch (scope) {
    case 'installation':
    case 'organization':
      return NOTHING
    case 'environment': {
      const environment = environmentOf(name)
      if (environment === undefined) throw wrongTarget(`must be one of ${ENVIRONMENTS.join(', ')}`)
      return { ...NOTHING, environment }
    }
    case 'team':
      return { ...NOTHING, team: name }
    case 'agent':
      return { ...NOTHING, agent_id: name }
    case 'key':
      return { ...NOTHING, key_id: name }
    case 'action': {
      const pattern = compileDenyAction(name)
      if (!pattern.ok) throw wrongTarget(pattern.errors)
      return { ...NOTHING, action: name }
    }
  }
}

/**
 * What was held, if the principal reaches it.
 * @throws Problem `agent_not_found`, `key_not_found`, `team_not_found` for what is not there, which another team's is to
 * a team's administrator
 */
export function assertReached(
  principal: Principal,
  scope: KillScope,
  columns: TargetColumns,
  { is_there, subject }: Pick<HeldTarget, 'is_there' | 'subject'>,
): Found {
  const team = subject ? subject.team : columns.team
  if (!is_there || (team !== null && !reaches(principal, team))) throw missingTarget(scope, columns)
  return { columns: subject ? { ...columns, agent_id: subject.agent_id } : columns, subject }
}

/** @throws Problem `forbidden` for a scope that reaches beyond the principal */
function assertMayStop(principal: Principal, scope: KillScope): void {
  if (scope === 'installation' && principal.kind !== 'root')
    throw new Problem('forbidden', { detail: 'Only the root key stops the installation.' })
  if (scope !== 'team' && scope !== 'agent' && scope !== 'key') assertReaches(principal, null)
}

function missingTarget(scope: KillScope, columns: TargetColumns): Problem {
  const name = targetOf(columns) ?? ''
  if (scope === 'team') return new Problem('team_not_found', { detail: `Team ${name} not found` })
  if (scope === 'key') return new Problem('key_not_found', { detail: `Key ${name} not found` })
  return agentNotFound(name)
}

const wrongTarget = (message: string) =>
  new Problem('validation_failed', { errors: [{ path: 'target', message }] })
