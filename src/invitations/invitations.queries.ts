import type { Pool } from 'pg'
import type { Tx } from '../platform/database/database.service.js'

/** The organization of an invitation, whatever state it is in. The token arrives before its organization is known. */
export async function selectOrganizationOfToken(pool: Pool, token_hash: string): Promise<string | null> {
  const { rows } = await pool.query<{ org_id: string }>(
    'SELECT i.org_id FROM invitations i JOIN organizations o USING (org_id) WHERE i.token_hash = $1 AND o.is_active',
    [token_hash],
  )
  return rows[0]?.org_id ?? null
}

/** Whether this administrator key may still be believed: it was not revoked. */
export async function isTrustedKey(tx: Tx, org_id: string, admin_id: string): Promise<boolean> {
  return (await tx.adminKey.count({ where: { org_id, admin_id, revoked_at: null } })) === 1
}
