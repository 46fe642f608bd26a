import type { Pool } from 'pg'
import type { Tx } from '../platform/database/database.service.js'

export interface AdminKeyRow {
  org_id: string
  admin_id: string
  role: string
  team: string | null
  /** What the role gives if it is one of the organization's own. */
  own_permissions: string[]
}

/**
 * The administrator key with this hash and what it may do now, unless it is revoked, expired, or its organization is
 * suspended. One statement, so that a role and who has it are never read at two moments.
 */
export async function selectAdminKey(pool: Pool, key_hash: string): Promise<AdminKeyRow | null> {
  const { rows } = await pool.query<AdminKeyRow>({
    name: 'admin_key',
    text: `
      SELECT k.org_id, k.admin_id, k.role, k.team, own_role_permissions(k.org_id, ARRAY[k.role]) AS own_permissions
      FROM admin_keys k JOIN organizations o USING (org_id)
      WHERE k.key_hash = $1 AND k.revoked_at IS NULL AND o.is_active
        AND (k.expires_at IS NULL OR (extract(epoch FROM k.expires_at) * 1000)::bigint > ledger.now_ms())`,
    values: [key_hash],
  })
  return rows[0] ?? null
}

export interface SessionRow {
  org_id: string
  session_id: string
  member_id: string
  roles: string[]
  team: string | null
  /** What those of the roles give that are the organization's own. */
  own_permissions: string[]
  /** The last use that was noted is a minute ago. */
  is_stale: boolean
}

/**
 * The session with this hash and its member: unless it is over, was idle for too long, or the member or the
 * organization is not active. One read by a unique index; times are the database's.
 */
export async function selectSession(
  pool: Pool,
  token_hash: string,
  idle_minutes: number,
): Promise<SessionRow | null> {
  const { rows } = await pool.query<SessionRow>({
    name: 'session',
    text: `
      SELECT s.org_id, s.session_id, s.member_id, m.roles, m.team,
             own_role_permissions(m.org_id, m.roles) AS own_permissions,
             s.last_seen_at <= clock_timestamp() - interval '1 minute' AS is_stale
      FROM sessions s JOIN members m USING (org_id, member_id) JOIN organizations o USING (org_id)
      WHERE s.token_hash = $1 AND s.ended_at IS NULL AND m.is_active AND o.is_active
        AND s.expires_at > clock_timestamp()
        AND s.last_seen_at > clock_timestamp() - make_interval(mins => $2::integer)`,
    values: [token_hash, idle_minutes],
  })
  return rows[0] ?? null
}

/** Notes that a session is in use: at most once a minute, however many requests come at once. */
export async function touchSession(tx: Tx, org_id: string, session_id: string): Promise<void> {
  await tx.$executeRaw`
    UPDATE sessions SET last_seen_at = clock_timestamp()
    WHERE org_id = ${org_id} AND session_id = ${session_id}
      AND last_seen_at <= clock_timestamp() - interval '1 minute'`
}

/** Whether the root key may work in this organization: it exists (suspended ones included). */
export async function existsOrganization(pool: Pool, org_id: string): Promise<boolean> {
  const { rowCount } = await pool.query('SELECT FROM organizations WHERE org_id = $1', [org_id])
  return rowCount === 1
}

/** Notes when keys were last used (minute resolution). `ids` are key or administrator ids of one organization. */
export async function updateLastUsed(
  tx: Tx,
  org_id: string,
  ids: readonly string[],
  at: Date,
): Promise<void> {
  await tx.agentKey.updateMany({ where: { org_id, key_id: { in: [...ids] } }, data: { last_used_at: at } })
  await tx.adminKey.updateMany({ where: { org_id, admin_id: { in: [...ids] } }, data: { last_used_at: at } })
}

export interface TokenStanding {
  /** `POST /token/revoke` has ended it. */
  is_revoked: boolean
  /** What signed it is still accepted. */
  is_signed: boolean
  /** Of the key that it was made from, whatever has become of that; null: no such key. */
  key_hash: string | null
}

/** What has become of a token and of what stands behind it, read anew with every use. */
export async function selectTokenStanding(
  pool: Pool,
  token: { type: 'agent' | 'admin'; org_id: string; key_id: string; jti: string; kid: string },
  now: Date,
): Promise<TokenStanding> {
  const key =
    token.type === 'agent'
      ? 'SELECT key_hash FROM agent_keys WHERE org_id = $1 AND key_id = $2'
      : 'SELECT key_hash FROM admin_keys WHERE org_id = $1 AND admin_id = $2'
  const { rows } = await pool.query<TokenStanding>({
    name: `token_standing_${token.type}`,
    text: `
      SELECT EXISTS (SELECT FROM revoked_tokens WHERE org_id = $1 AND jti = $3::uuid) AS is_revoked,
             EXISTS (SELECT FROM token_signing_keys
                     WHERE kid = $4 AND (ends_at IS NULL OR ends_at > $5)) AS is_signed,
             (${key}) AS key_hash`,
    values: [token.org_id, token.key_id, token.jti, token.kid, now],
  })
  return rows[0] ?? { is_revoked: true, is_signed: false, key_hash: null }
}
