import type { JWK } from 'jose'
import type { Pool } from 'pg'
import type { Tx } from '../platform/database/database.service.js'

export type Alg = 'EdDSA' | 'RS256'

export interface SigningKeyRow {
  readonly kid: string
  readonly alg: Alg
  readonly public_jwk: JWK
  readonly sealed: string
  readonly created_at: Date
  readonly retired_at: Date | null
  readonly ends_at: Date | null
}

/** The keys whose tokens are accepted at `now`, oldest first; of an id or all of them. */
export async function selectSigningKeys(
  pool: Pool,
  now: Date,
  kid: string | null = null,
): Promise<SigningKeyRow[]> {
  const { rows } = await pool.query<SigningKeyRow>({
    name: 'token_signing_keys',
    text: `
      SELECT kid, alg, public_jwk, sealed, created_at, retired_at, ends_at
      FROM token_signing_keys
      WHERE (ends_at IS NULL OR ends_at > $1) AND ($2::text IS NULL OR kid = $2)
      ORDER BY created_at, kid`,
    values: [now, kid],
  })
  return rows
}

/** Every key that is kept, for sealing anew. */
export async function selectSealed(pool: Pool): Promise<Pick<SigningKeyRow, 'kid' | 'sealed'>[]> {
  const { rows } = await pool.query<Pick<SigningKeyRow, 'kid' | 'sealed'>>(
    'SELECT kid, sealed FROM token_signing_keys',
  )
  return rows
}

/** Adds a key that signs; false when another one of its algorithm does already. */
export async function insertSigningKey(
  tx: Tx,
  row: Pick<SigningKeyRow, 'kid' | 'alg' | 'public_jwk' | 'sealed' | 'created_at'>,
): Promise<boolean> {
  const { kid, alg, public_jwk, sealed, created_at } = row
  const count = await tx.$executeRaw`
    INSERT INTO token_signing_keys (kid, alg, public_jwk, sealed, created_at)
    VALUES (${kid}, ${alg}, ${JSON.stringify(public_jwk)}::jsonb, ${sealed}, ${created_at})
    ON CONFLICT DO NOTHING`
  return count === 1
}

/** Retires the keys that sign, and brings the end of those that are retired forward to `ends_at` if it is later. */
export async function retireSigningKeys(tx: Tx, now: Date, ends_at: Date): Promise<string[]> {
  const rows = await tx.$queryRaw<{ kid: string }[]>`
    UPDATE token_signing_keys
    SET retired_at = COALESCE(retired_at, ${now}), ends_at = LEAST(ends_at, ${ends_at})
    WHERE retired_at IS NULL OR ends_at > ${ends_at}
    RETURNING kid`
  return rows.map(({ kid }) => kid)
}

/** Forgets the keys whose last token has ended. */
export async function deleteEndedKeys(tx: Tx, now: Date): Promise<void> {
  await tx.$executeRaw`DELETE FROM token_signing_keys WHERE ends_at <= ${now}`
}

export async function updateSealed(tx: Tx, kid: string, sealed: string): Promise<void> {
  await tx.$executeRaw`UPDATE token_signing_keys SET sealed = ${sealed} WHERE kid = ${kid}`
}

/** Who this installation is, to whoever reads one of its tokens. */
export async function selectInstallation(pool: Pool): Promise<string> {
  const { rows } = await pool.query<{ id: string }>(
    'SELECT installation_id::text AS id FROM installation_config',
  )
  const [row] = rows
  if (!row) throw new Error('the installation has no identity: run the migrations')
  return row.id
}
