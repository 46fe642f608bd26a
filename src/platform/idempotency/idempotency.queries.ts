import type { Tx } from '../database/database.service.js'
import type { IdempotencyScope } from './idempotency.store.js'

export interface KeptRow {
  fingerprint: Uint8Array
  status: number | null
  body: unknown
}

/**
 * Inserts the key, or takes over one whose time is up, in one statement: the primary key makes exactly one of
 * several concurrent callers succeed, the others wait for its commit and then see its row.
 */
export async function insertClaim(
  tx: Tx,
  { org_id, principal, key }: IdempotencyScope,
  fingerprint: Uint8Array,
  now: Date,
  expires_at: Date,
): Promise<boolean> {
  const rows = await tx.$queryRaw<unknown[]>`
    INSERT INTO idempotency_keys AS kept (org_id, principal, key, fingerprint, created_at, expires_at)
    VALUES (${org_id}, ${principal}, ${key}, ${fingerprint}, ${now}, ${expires_at})
    ON CONFLICT (org_id, principal, key) DO UPDATE
      SET fingerprint = EXCLUDED.fingerprint, status = NULL, body = NULL,
          created_at = EXCLUDED.created_at, expires_at = EXCLUDED.expires_at
      WHERE kept.expires_at <= ${now}
    RETURNING 1`
  return rows.length === 1
}

export async function selectKept(
  tx: Tx,
  { org_id, principal, key }: IdempotencyScope,
): Promise<KeptRow | undefined> {
  const rows = await tx.$queryRaw<KeptRow[]>`
    SELECT fingerprint, status, body FROM idempotency_keys
    WHERE org_id = ${org_id} AND principal = ${principal} AND key = ${key}`
  return rows[0]
}

/** Only an open claim becomes an answer. */
export async function updateKept(
  tx: Tx,
  { org_id, principal, key }: IdempotencyScope,
  status: number,
  body: string | null,
  expires_at: Date,
): Promise<void> {
  await tx.$executeRaw`
    UPDATE idempotency_keys SET status = ${status}, body = ${body}::jsonb, expires_at = ${expires_at}
    WHERE org_id = ${org_id} AND principal = ${principal} AND key = ${key} AND status IS NULL`
}

export async function deleteClaim(tx: Tx, { org_id, principal, key }: IdempotencyScope): Promise<void> {
  await tx.$executeRaw`
    DELETE FROM idempotency_keys
    WHERE org_id = ${org_id} AND principal = ${principal} AND key = ${key} AND status IS NULL`
}

/** Drops a few keys whose time is up. SKIP LOCKED: two cleaners never wait for each other. */
export async function deleteExpired(tx: Tx, org_id: string, now: Date): Promise<void> {
  await tx.$executeRaw`
    DELETE FROM idempotency_keys WHERE (org_id, principal, key) IN (
      SELECT org_id, principal, key FROM idempotency_keys
      WHERE org_id = ${org_id} AND expires_at <= ${now} LIMIT 20 FOR UPDATE SKIP LOCKED)`
}
