import type { Pool, PoolClient } from 'pg'
import type { Subject } from '../core/ledger/entry.js'
import type { KillScope } from '../core/policy/stages/kill.js'
import { Prisma } from '../generated/prisma/client.js'
import type { PreparedEntry, Seen } from '../ledger/ledger.service.js'
import type { Tx } from '../platform/database/database.service.js'
import { errorField } from '../platform/http/error-code.js'
import type { TargetColumns } from './kill-target.js'

/** The agent, held until the commit as by whoever changes it, named as entries do. */
export async function lockSubject(tx: Tx, org_id: string, agent_id: string): Promise<Subject | null> {
  const rows = await tx.$queryRaw<Subject[]>`
    SELECT agent_id, environment, owner_team AS team
    FROM agents WHERE org_id = ${org_id} AND agent_id = ${agent_id} FOR NO KEY UPDATE`
  return rows[0] ?? null
}

/**
 * Kill switches of one organization change one transaction at a time: so two people are told apart. Comes after the lock of
 * an agent: who waits for that must not keep others from stopping more.
 */
export async function lockKillSwitches(tx: Tx, org_id: string): Promise<void> {
  await tx.$executeRaw`SELECT pg_advisory_xact_lock(72707372, hashtext(${org_id}))`
}

/** What a scope and target name, held until the commit, and the switch that is active for them. */
export interface HeldTarget {
  /** Whether the organization has such an agent, key or team. */
  readonly is_there: boolean
  /** The agent that an agent or key switch is about. */
  readonly subject: Subject | undefined
  readonly active: KillRow | undefined
}

/** A switch that is to be written. */
export type NewKill = Pick<KillRow, 'kill_id' | 'reason' | 'activated_by' | 'activated_at'>

/**
 * Holds the target, takes the lock of `lockKillSwitches`, and under it writes a new switch when there is a target and none
 * is active for it: all in one round trip, which also binds the transaction to the organization. Not for the installation.
 */
export async function holdTarget(
  tx: Tx,
  org_id: string,
  scope: KillScope,
  target: string | null,
  kill: NewKill | null,
): Promise<HeldTarget> {
  type Row = Pick<HeldTarget, 'is_there'> & {
    subject_agent_id: string | null
    subject_environment: Subject['environment']
    subject_team: string
  } & (KillRow | { kill_id: null })
  const [row] = await tx.$queryRaw<Row[]>`
    SELECT h.is_there, h.subject_agent_id, h.subject_environment, h.subject_team, (h.active).*
    FROM hold_kill_target(${org_id}, ${scope}, ${target}, ${kill?.kill_id}, ${kill?.reason}, ${kill?.activated_by},
                          ${kill?.activated_at}) h`
  if (!row) throw new Error('hold_kill_target answered nothing')
  const { is_there, subject_agent_id, subject_environment, subject_team, ...active } = row
  const subject =
    subject_agent_id === null
      ? undefined
      : { agent_id: subject_agent_id, environment: subject_environment, team: subject_team }
  return { is_there, subject, active: active.kill_id === null ? undefined : active }
}

/** A target that is there and not stopped, and what the entry of a switch for it is made from. */
export type SeenTarget = Seen & Pick<HeldTarget, 'subject'>

/** Looks at a target without a lock; null: there is nothing of that name, or a switch is active. Not for the installation. */
export async function seeTarget(
  client: PoolClient,
  org_id: string,
  scope: KillScope,
  target: string | null,
): Promise<SeenTarget | null> {
  type Row = Seen['head'] & Pick<Seen, 'agent'> & Omit<Subject, 'agent_id'> & { agent_id: string | null }
  const { rows } = await client.query<Row>({
    name: 'see_kill_target',
    text: `SELECT subject_agent_id AS agent_id, subject_environment AS environment, subject_team AS team,
                  agent::float8, origin, organization::float8, installation::float8
           FROM see_kill_target($1, $2, $3)`,
    values: [org_id, scope, target],
  })
  const [row] = rows
  if (!row) return null
  const { agent_id, environment, team, agent, ...head } = row
  return { head, agent, subject: agent_id === null ? undefined : { agent_id, environment, team } }
}

/** SQLSTATE of `stop_at_once`: what is to be stopped is not as it was seen. */
const MOVED = 'AG004'

/**
 * Writes a switch with its entry and everything that follows from it, in one statement that is a transaction.
 * @returns false, with nothing written, when the target, its switches or a version are not as they were seen
 */
export async function stopAtOnce(
  client: PoolClient,
  { org_id, scope, target }: { org_id: string; scope: KillScope; target: string | null },
  kill: NewKill,
  { id, ts, versions, entry }: PreparedEntry,
): Promise<boolean> {
  try {
    await client.query({
      name: 'stop_at_once',
      text: 'SELECT stop_at_once($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13)::text AS stopped',
      values: [
        org_id,
        scope,
        target,
        kill.kill_id,
        kill.reason,
        kill.activated_by,
        kill.activated_at,
        id,
        ts,
        versions.installation,
        versions.organization,
        versions.agent ?? null,
        entry,
      ],
    })
    return true
  } catch (error) {
    if (errorField(error, 'code') === MOVED) return false
    throw error
  }
}

export interface KillRow extends TargetColumns {
  kill_id: string
  scope: KillScope
  reason: string
  activated_by: string
  activated_at: Date
  release_by: string | null
  release_reason: string | null
  release_at: Date | null
  deactivated_by: string | null
  deactivated_reason: string | null
  deactivated_at: Date | null
}

/** Which switches are wanted. Undefined members do not filter. */
export interface KillFilter {
  readonly org_id: string
  /** Only those that reach agents of this team. */
  readonly team: string | null
  readonly include_ended: boolean
  readonly kill_id?: string
  readonly scope?: KillScope
  readonly target?: string | null
}

/**
 * The organization's switches and the installation's, newest first. A team's administrator sees what stops agents of
 * that team.
 */
function switches({ org_id, team, include_ended, kill_id, scope, target }: KillFilter): Prisma.Sql {
  const conditions = [Prisma.sql`true`]
  if (!include_ended) conditions.push(Prisma.sql`s.deactivated_at IS NULL`)
  if (kill_id !== undefined) conditions.push(Prisma.sql`s.kill_id = ${kill_id}`)
  if (scope !== undefined) conditions.push(Prisma.sql`s.scope = ${scope}`)
  if (target !== undefined) {
    conditions.push(
      Prisma.sql`COALESCE(s.environment, s.team, s.key_id, s.agent_id, s.action) IS NOT DISTINCT FROM ${target}::text`,
    )
  }
  if (team !== null) {
    conditions.push(Prisma.sql`(s.team IS NULL OR s.team = ${team}) AND (s.agent_id IS NULL OR EXISTS (
      SELECT FROM agents a WHERE a.org_id = ${org_id} AND a.agent_id = s.agent_id AND a.owner_team = ${team}))`)
  }
  return Prisma.sql`
    FROM (
      SELECT kill_id, scope, environment, team, agent_id, key_id, action, reason, activated_by, activated_at,
             release_by, release_reason, release_at, deactivated_by, deactivated_reason, deactivated_at
      FROM kill_switches WHERE org_id = ${org_id}
      UNION ALL
      SELECT kill_id, 'installation', NULL, NULL, NULL, NULL, NULL, reason, activated_by, activated_at,
             NULL, NULL, NULL, deactivated_by, deactivated_reason, deactivated_at
      FROM installation_kills
    ) s WHERE ${Prisma.join(conditions, ' AND ')}`
}

export function selectKills(tx: Tx, filter: KillFilter, limit: number, offset: number): Promise<KillRow[]> {
  return tx.$queryRaw<KillRow[]>`
    SELECT s.* ${switches(filter)} ORDER BY s.activated_at DESC, s.kill_id LIMIT ${limit} OFFSET ${offset}`
}

export async function countKills(tx: Tx, filter: KillFilter): Promise<number> {
  const rows = await tx.$queryRaw<{ count: number }[]>`SELECT count(*)::integer AS count ${switches(filter)}`
  return rows[0]?.count ?? 0
}

/** How the ids of switches of drills begin, and how long they are: those of others have 20 characters. */
export const DRILL_PREFIX = 'kil_drill_'
export const DRILL_ID_LENGTH = 26

/** The active switches of drills of one organization. */
export async function selectDrills(tx: Tx, org_id: string): Promise<KillRow[]> {
  const filter = { org_id, team: null, include_ended: false, scope: 'agent' } as const
  return tx.$queryRaw<KillRow[]>`
    SELECT s.* ${switches(filter)} AND starts_with(s.kill_id, ${DRILL_PREFIX}) AND length(s.kill_id) = ${DRILL_ID_LENGTH}`
}

/** Organizations in which a drill has left a switch since before that moment. */
export async function selectLeftDrills(pool: Pool, before: Date): Promise<string[]> {
  const { rows } = await pool.query<{ org_id: string }>(
    `SELECT DISTINCT org_id FROM kill_switches WHERE deactivated_at IS NULL AND scope = 'agent'
       AND starts_with(kill_id, $1) AND length(kill_id) = $2 AND activated_at < $3`,
    [DRILL_PREFIX, DRILL_ID_LENGTH, before],
  )
  return rows.map(({ org_id }) => org_id)
}

/** How many switches are active, by scope, over all organizations: the operator's numbers. */
export async function countActive(pool: Pool): Promise<{ scope: string; count: number }[]> {
  const { rows } = await pool.query<{ scope: string; count: number }>(
    `SELECT scope, count(*)::integer AS count FROM kill_switches WHERE deactivated_at IS NULL GROUP BY scope
     UNION ALL
     SELECT 'installation', count(*)::integer FROM installation_kills WHERE deactivated_at IS NULL`,
  )
  return rows
}

/** What was stopped since a moment and still is. An installation's switch has no organization: its `org_id` is empty. */
export async function selectRecent(
  pool: Pool,
  since: Date,
): Promise<{ org_id: string; kill_id: string; scope: KillScope; target: string | null }[]> {
  const { rows } = await pool.query<{
    org_id: string
    kill_id: string
    scope: KillScope
    target: string | null
  }>(
    `SELECT org_id, kill_id, scope, COALESCE(environment, team, key_id, agent_id, action) AS target
     FROM kill_switches WHERE deactivated_at IS NULL AND activated_at >= $1
     UNION ALL
     SELECT '', kill_id, 'installation', NULL FROM installation_kills
     WHERE deactivated_at IS NULL AND activated_at >= $1`,
    [since],
  )
  return rows
}

/** Every organization, for what an installation-wide switch has to tell each. */
export async function selectOrganizationIds(pool: Pool): Promise<string[]> {
  const { rows } = await pool.query<{ org_id: string }>('SELECT org_id FROM organizations ORDER BY org_id')
  return rows.map(({ org_id }) => org_id)
}
