import type { Tx } from '../platform/database/database.service.js'

export interface RoleRow {
  readonly role: string
  readonly description: string
  readonly permissions: string[]
  readonly created_at: Date
  readonly updated_at: Date
  readonly created_by: string
}

/**
 * The role, held until the commit: it changes one transaction at a time, and nobody is given it meanwhile, because a
 * reference to it waits for this lock.
 */
export async function lockRole(tx: Tx, org_id: string, role: string): Promise<RoleRow | null> {
  const rows = await tx.$queryRaw<RoleRow[]>`
    SELECT role, description, permissions, created_at, updated_at, created_by
    FROM roles WHERE org_id = ${org_id} AND role = ${role} FOR UPDATE`
  return rows[0] ?? null
}

/**
 * What these of the organization's own roles give, held as they are until the commit: who is being given one, has it
 * when the transaction ends, with what it gave when that was judged.
 */
export async function holdRoles(
  tx: Tx,
  org_id: string,
  roles: readonly string[],
): Promise<Pick<RoleRow, 'role' | 'permissions'>[]> {
  if (roles.length === 0) return []
  return tx.$queryRaw<Pick<RoleRow, 'role' | 'permissions'>[]>`
    SELECT role, permissions FROM roles
    WHERE org_id = ${org_id} AND role = ANY (${[...roles]}::text[]) ORDER BY role FOR SHARE`
}

/** Roles of one organization are made one at a time, so that they can be counted. */
export async function lockRoles(tx: Tx, org_id: string): Promise<void> {
  await tx.$queryRaw`SELECT FROM organizations WHERE org_id = ${org_id} FOR NO KEY UPDATE`
}
