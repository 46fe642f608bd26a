import type { Tx } from '../platform/database/database.service.js'

/** Whether there is an entry with this id that is about an agent which this team owns now. */
export async function isEntryOfTeam(tx: Tx, org_id: string, team: string, log_id: string): Promise<boolean> {
  const rows = await tx.$queryRaw<unknown[]>`
    SELECT 1 FROM ledger.ledger_entry e JOIN agents a USING (org_id, agent_id)
    WHERE e.org_id = ${org_id} AND e.id = ${log_id}::uuid AND a.owner_team = ${team}`
  return rows.length > 0
}
