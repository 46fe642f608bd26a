import type { Tx } from '../platform/database/database.service.js'

/**
 * Takes turns: whatever changes who the people of an organization are and what they may do happens one transaction at a
 * time, so that "is there another owner" and "is this address taken" stay true until the commit.
 */
export async function lockPeople(tx: Tx, org_id: string): Promise<void> {
  await tx.$executeRaw`SELECT pg_advisory_xact_lock(hashtextextended('agentguard/people/' || ${org_id}, 0))`
}

export interface HeldMember {
  member_id: string
  email: string
  roles: string[]
  team: string | null
}

/**
 * The member if active, held as it is until the commit: what deactivates it waits, and then ends what this transaction
 * began.
 */
export async function holdActive(tx: Tx, org_id: string, member_id: string): Promise<HeldMember | null> {
  const rows = await tx.$queryRaw<HeldMember[]>`
    SELECT member_id, email, roles, team FROM members
    WHERE org_id = ${org_id} AND member_id = ${member_id} AND is_active FOR SHARE`
  return rows[0] ?? null
}
