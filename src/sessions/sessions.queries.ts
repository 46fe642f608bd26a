import type { Tx } from '../platform/database/database.service.js'

export interface NewSession {
  readonly org_id: string
  readonly session_id: string
  readonly member_id: string
  readonly token_hash: string
  readonly method: 'password' | 'single_sign_on'
  readonly address: string
  readonly user_agent: string
}

/** Inserts a session that lasts so long by the database's clock, and drops the member's that ended a month ago. */
export async function insertSession(tx: Tx, session: NewSession, hours: number): Promise<Date> {
  const { org_id, session_id, member_id, token_hash, method, address, user_agent } = session
  await tx.$executeRaw`
    DELETE FROM sessions WHERE org_id = ${org_id} AND member_id = ${member_id}
      AND expires_at < clock_timestamp() - interval '30 days'`
  const rows = await tx.$queryRaw<{ expires_at: Date }[]>`
    INSERT INTO sessions (org_id, session_id, member_id, token_hash, method, address, user_agent,
                          created_at, last_seen_at, expires_at)
    SELECT ${org_id}, ${session_id}, ${member_id}, ${token_hash}, ${method}, ${address}, ${user_agent},
           t, t, t + make_interval(hours => ${hours}::integer) FROM clock_timestamp() AS t
    RETURNING expires_at`
  if (!rows[0]) throw new Error('the session was not inserted')
  return rows[0].expires_at
}

export interface SessionView {
  session_id: string
  method: string
  address: string
  user_agent: string
  created_at: Date
  last_seen_at: Date
  expires_at: Date
}

/** The member's sessions that still work, newest first. */
export function selectSessions(
  tx: Tx,
  org_id: string,
  member_id: string,
  idle_minutes: number,
): Promise<SessionView[]> {
  return tx.$queryRaw<SessionView[]>`
    SELECT session_id, method, address, user_agent, created_at, last_seen_at, expires_at FROM sessions
    WHERE org_id = ${org_id} AND member_id = ${member_id} AND ended_at IS NULL AND expires_at > clock_timestamp()
      AND last_seen_at > clock_timestamp() - make_interval(mins => ${idle_minutes}::integer)
    ORDER BY created_at DESC, session_id`
}

/** Ends the member's sessions: one of them, or all but one. @returns the ids of those that had not ended. */
export async function endSessions(
  tx: Tx,
  org_id: string,
  member_id: string,
  which: { readonly only?: string; readonly but?: string },
): Promise<string[]> {
  const rows = await tx.$queryRaw<{ session_id: string }[]>`
    UPDATE sessions SET ended_at = clock_timestamp()
    WHERE org_id = ${org_id} AND member_id = ${member_id} AND ended_at IS NULL AND expires_at > clock_timestamp()
      AND (${which.only ?? null}::text IS NULL OR session_id = ${which.only ?? null})
      AND (${which.but ?? null}::text IS NULL OR session_id <> ${which.but ?? null})
    RETURNING session_id`
  return rows.map(({ session_id }) => session_id)
}

/** The session with this token, whoever's of this organization it is. */
export async function selectByToken(
  tx: Tx,
  org_id: string,
  token_hash: string,
): Promise<{ session_id: string; member_id: string } | null> {
  const rows = await tx.$queryRaw<{ session_id: string; member_id: string }[]>`
    SELECT session_id, member_id FROM sessions WHERE org_id = ${org_id} AND token_hash = ${token_hash}`
  return rows[0] ?? null
}
