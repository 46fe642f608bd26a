import type { Tx } from '../platform/database/database.service.js'

/** The number of the spool's decision that comes next; 0 for a spool of which nothing is in the log. */
export async function selectSpool(tx: Tx, org_id: string, agent_id: string, spool: string): Promise<number> {
  const rows = await tx.$queryRaw<{ next_seq: bigint }[]>`
    SELECT next_seq FROM local_spools
    WHERE org_id = ${org_id} AND agent_id = ${agent_id} AND spool = ${spool}::uuid`
  return Number(rows[0]?.next_seq ?? 0)
}

/**
 * Moves a spool on, and holds its row until the commit. False when it is not at `from` any more: whoever comes second
 * waits for the first, and then finds that it has moved.
 */
export async function advanceSpool(
  tx: Tx,
  { org_id, agent_id }: { readonly org_id: string; readonly agent_id: string },
  spool: string,
  from: number,
  upto: number,
): Promise<boolean> {
  const moved = await tx.$executeRaw`
    INSERT INTO local_spools AS s (org_id, agent_id, spool, next_seq)
    VALUES (${org_id}, ${agent_id}, ${spool}::uuid, ${upto})
    ON CONFLICT (org_id, agent_id, spool) DO UPDATE SET next_seq = ${upto}, updated_at = now()
    WHERE s.next_seq = ${from}`
  return moved === 1
}
