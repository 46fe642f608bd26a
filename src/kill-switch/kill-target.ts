import type { Subject } from '../core/ledger/entry.js'
import { compileDenyAction } from '../core/policy/pattern.js'
import type { KillScope } from '../core/policy/stages/kill.js'
import { agentNotFound, Problem } from '../core/problems.js'
import type { Principal } from '../platform/access/principal.js'
import { assertReaches, reaches } from '../platform/access/scope.js'
import type { Tx } from '../platform/database/database.service.js'
import { ENVIRONMENTS, shortEnvironment } from '../platform/http/fields.js'
import { lockSubject } from './kill-switch.queries.js'

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

/**
 * Finds what a scope and target name, and whether the principal may stop it.
 * @throws Problem `validation_failed` for a target that does not go with the scope; `agent_not_found`,
 * `key_not_found`, `team_not_found` for what is not there, which another team's is to a team's administrator;
 * `forbidden` for a scope wider than the principal's team
 */
export async function findTarget(
  tx: Tx,
  principal: Principal,
  scope: KillScope,
  target: string | undefined,
): Promise<Found> {
  const { org_id } = principal
  if (scope === 'installation' || scope === 'organization') {
    if (target !== undefined) throw wrongTarget(`is not given for the scope ${scope}`)
  } else if (target === undefined) throw wrongTarget(`is required for the scope ${scope}`)
  assertMayStop(principal, scope)
  const name = target ?? ''
  switch (scope) {
    case 'installation':
    case 'organization':
      return { columns: NOTHING, subject: undefined }
    case 'environment': {
      const environment = ENVIRONMENTS.find((one) => one === shortEnvironment(name))
      if (environment === undefined) throw wrongTarget(`must be one of ${ENVIRONMENTS.join(', ')}`)
      return { columns: { ...NOTHING, environment }, subject: undefined }
    }
    case 'team': {
      const there = reaches(principal, name) && (await tx.team.count({ where: { org_id, team: name } })) > 0
      if (!there) throw new Problem('team_not_found', { detail: `Team ${name} not found` })
      return { columns: { ...NOTHING, team: name }, subject: undefined }
    }
    case 'agent':
      return {
        columns: { ...NOTHING, agent_id: name },
        subject: await lockAgentOf(tx, principal, name, agentNotFound(name)),
      }
    case 'key': {
      const missing = new Problem('key_not_found', { detail: `Key ${name} not found` })
      const key = await tx.agentKey.findUnique({ where: { org_id_key_id: { org_id, key_id: name } } })
      if (!key) throw missing
      const subject = await lockAgentOf(tx, principal, key.agent_id, missing)
      return { columns: { ...NOTHING, key_id: name, agent_id: key.agent_id }, subject }
    }
    case 'action': {
      const pattern = compileDenyAction(name)
      if (!pattern.ok) throw wrongTarget(pattern.errors)
      return { columns: { ...NOTHING, action: name }, subject: undefined }
    }
  }
}

/** @throws Problem `forbidden` for a scope that reaches beyond the principal */
function assertMayStop(principal: Principal, scope: KillScope): void {
  if (scope === 'installation' && principal.kind !== 'root')
    throw new Problem('forbidden', { detail: 'Only the root key stops the installation.' })
  if (scope !== 'team' && scope !== 'agent' && scope !== 'key') assertReaches(principal, null)
}

/** The agent, held until the commit, unless it is another team's. */
export async function lockAgentOf(
  tx: Tx,
  principal: Principal,
  agent_id: string,
  missing: Problem,
): Promise<Subject> {
  const subject = await lockSubject(tx, principal.org_id, agent_id)
  if (!subject || !reaches(principal, subject.team)) throw missing
  return subject
}

const wrongTarget = (message: string) =>
  new Problem('validation_failed', { errors: [{ path: 'target', message }] })
