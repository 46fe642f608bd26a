import type { Pool } from 'pg'

/** The organization of a set-up link, whatever state it is in. The link arrives before its organization is known. */
export async function selectOrganizationOfLink(pool: Pool, token_hash: string): Promise<string | null> {
  const { rows } = await pool.query<{ org_id: string }>(
    'SELECT l.org_id FROM setup_links l JOIN organizations o USING (org_id) WHERE l.token_hash = $1 AND o.is_active',
    [token_hash],
  )
  return rows[0]?.org_id ?? null
}
