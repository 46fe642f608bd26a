import type { Pool } from 'pg'
import type { Tx } from '../platform/database/database.service.js'
import type { Listed } from '../platform/http/page.dto.js'
import type { Organization } from './organizations.dto.js'

/**
 * Every organization of the installation, oldest first. The application's own role sees one organization at a time;
 * the decision path's may read them all, and write none.
 */
export async function selectOrganizations(
  pool: Pool,
  limit: number,
  offset: number,
): Promise<Listed<Organization>> {
  const { rows: items } = await pool.query<Organization>(
    `SELECT org_id, name, is_active, created_at, updated_at
     FROM organizations ORDER BY created_at, org_id LIMIT $1 OFFSET $2`,
    [limit, offset],
  )
  const { rows } = await pool.query<{ total: number }>('SELECT count(*)::integer AS total FROM organizations')
  return { items, total: rows[0]?.total ?? 0 }
}

/** The organization, held against other changes until the commit, so that its entry tells the true before and after. */
export async function lockOrganization(tx: Tx, org_id: string): Promise<Organization | null> {
  const rows = await tx.$queryRaw<Organization[]>`
    SELECT org_id, name, is_active, created_at, updated_at
    FROM organizations WHERE org_id = ${org_id} FOR NO KEY UPDATE`
  return rows[0] ?? null
}
