import type { Tx } from '../platform/database/database.service.js'

/** Ends a token; false when it was ended already. Until `expires_at` it is kept, after that nobody needs it. */
export async function insertRevoked(
  tx: Tx,
  { org_id, jti, expires_at }: { org_id: string; jti: string; expires_at: Date },
): Promise<boolean> {
  const count = await tx.$executeRaw`
    INSERT INTO revoked_tokens (org_id, jti, expires_at) VALUES (${org_id}, ${jti}::uuid, ${expires_at})
    ON CONFLICT DO NOTHING`
  return count === 1
}

/** Forgets ended tokens that would have expired by now. A minute later, in case a replica's clock is behind. */
export async function deleteExpired(tx: Tx, org_id: string, now: Date): Promise<void> {
  await tx.$executeRaw`
    DELETE FROM revoked_tokens WHERE org_id = ${org_id} AND expires_at < ${now}::timestamptz - interval '1 minute'`
}
