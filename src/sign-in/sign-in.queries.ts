import type { Pool } from 'pg'
import { Prisma } from '../generated/prisma/client.js'
import type { Tx } from '../platform/database/database.service.js'

export interface Candidate {
  org_id: string
  org_name: string
  member_id: string
}

/**
 * Whether a password is enough for a member: where single sign-on is required, only the owner who is named may use one.
 * Of `m` (members) and `s` (single_sign_on, perhaps none).
 */
const MAY_USE_PASSWORD =
  "(s.required IS NOT TRUE OR (m.member_id = s.break_glass_member_id AND 'owner' = ANY (m.roles)))"

/**
 * Whom this address may mean: active members of active organizations, those who joined first first.
 * Who must come through single sign-on is not among them: to a password they do not exist. Read as the
 * decision path's role, which sees every organization.
 * @param org_id null: any organization
 */
export async function selectCandidates(
  pool: Pool,
  email: string,
  org_id: string | null,
  limit: number,
): Promise<Candidate[]> {
  const { rows } = await pool.query<Candidate>({
    name: 'sign_in_candidates',
    text: `
      SELECT m.org_id, o.name AS org_name, m.member_id FROM members m JOIN organizations o USING (org_id)
      LEFT JOIN single_sign_on s USING (org_id)
      WHERE m.email = $1 AND ($2::text IS NULL OR m.org_id = $2) AND m.is_active AND o.is_active
        AND ${MAY_USE_PASSWORD}
      ORDER BY m.created_at, m.org_id LIMIT $3`,
    values: [email, org_id, limit],
  })
  return rows
}

/** The same of one member, at the moment in which their session begins. */
export async function mayUsePassword(tx: Tx, org_id: string, member_id: string): Promise<boolean> {
  const rows = await tx.$queryRaw<unknown[]>`
    SELECT FROM members m LEFT JOIN single_sign_on s USING (org_id)
    WHERE m.org_id = ${org_id} AND m.member_id = ${member_id} AND ${Prisma.raw(MAY_USE_PASSWORD)}`
  return rows.length === 1
}

/** Everybody who has this address, active or not: whose logs tell that somebody keeps failing to sign in. */
export async function selectNamesakes(pool: Pool, email: string): Promise<Omit<Candidate, 'org_name'>[]> {
  const { rows } = await pool.query<Omit<Candidate, 'org_name'>>(
    'SELECT org_id, member_id FROM members WHERE email = $1 ORDER BY org_id LIMIT 100',
    [email],
  )
  return rows
}

export type FailureScope = 'account' | 'address'

/** What failures of a scope cost. */
export interface FailureLimit {
  /** So many cost nothing; after that the delay doubles with each, from 1 s on. */
  readonly free: number
  readonly max_delay_s: number
  /** After so long without a failure the count starts again. */
  readonly forget_s: number
}

export interface Taken {
  failures: number
  blocked_until: Date
}

/**
 * Counts a try as failed before it is made, so that many at once cannot all come before the first is counted; whoever
 * succeeds gives it back. One statement: of several at once each sees the ones before.
 * @returns null while the subject is blocked: nothing is counted then
 */
export async function takeTry(
  tx: Tx,
  scope: FailureScope,
  subject: Uint8Array,
  { free, max_delay_s, forget_s }: FailureLimit,
): Promise<Taken | null> {
  const rows = await tx.$queryRaw<Taken[]>`
    INSERT INTO sign_in_failures AS f (scope, subject, failures, blocked_until, last_at)
    VALUES (${scope}, ${subject}, 1, clock_timestamp(), clock_timestamp())
    ON CONFLICT (scope, subject) DO UPDATE SET
      failures = CASE WHEN f.last_at < clock_timestamp() - make_interval(secs => ${forget_s}::integer)
                      THEN 1 ELSE f.failures + 1 END,
      blocked_until = clock_timestamp() + CASE
        WHEN f.last_at < clock_timestamp() - make_interval(secs => ${forget_s}::integer)
          OR f.failures + 1 < ${free}::integer THEN interval '0'
        ELSE make_interval(secs => LEAST(${max_delay_s}::integer,
                                         2 ^ LEAST(20, f.failures + 1 - ${free}::integer))) END,
      last_at = clock_timestamp()
    WHERE f.blocked_until <= clock_timestamp()
    RETURNING failures, blocked_until`
  return rows[0] ?? null
}

/** For how many more seconds the subject is blocked. */
export async function selectBlockedFor(tx: Tx, scope: FailureScope, subject: Uint8Array): Promise<number> {
  const rows = await tx.$queryRaw<{ seconds: number }[]>`
    SELECT extract(epoch FROM blocked_until - clock_timestamp())::float8 AS seconds
    FROM sign_in_failures WHERE scope = ${scope} AND subject = ${subject}`
  return Math.max(1, Math.ceil(rows[0]?.seconds ?? 1))
}

/** Forgets the failures of an account. */
export async function deleteFailures(tx: Tx, scope: FailureScope, subject: Uint8Array): Promise<void> {
  await tx.$executeRaw`DELETE FROM sign_in_failures WHERE scope = ${scope} AND subject = ${subject}`
}

/** Gives one try back, and the delay it brought, unless another failure has come since. */
export async function giveBackTry(
  tx: Tx,
  scope: FailureScope,
  subject: Uint8Array,
  { blocked_until }: Taken,
): Promise<void> {
  await tx.$executeRaw`
    UPDATE sign_in_failures SET failures = GREATEST(0, failures - 1),
      blocked_until = CASE WHEN blocked_until = ${blocked_until} THEN clock_timestamp() ELSE blocked_until END
    WHERE scope = ${scope} AND subject = ${subject}`
}

/** Drops a few counts that are forgotten anyway. SKIP LOCKED: two cleaners never wait for each other. */
export async function deleteForgotten(tx: Tx, forget_s: number): Promise<void> {
  await tx.$executeRaw`
    DELETE FROM sign_in_failures WHERE (scope, subject) IN (
      SELECT scope, subject FROM sign_in_failures
      WHERE last_at < clock_timestamp() - make_interval(secs => ${forget_s}::integer) LIMIT 20
      FOR UPDATE SKIP LOCKED)`
}
