import { Injectable } from '@nestjs/common'
import { Database } from '../database/database.service.js'
import * as queries from './idempotency.queries.js'
import { IdempotencyStore, type Claim, type IdempotencyScope, type KeptAnswer } from './idempotency.store.js'

/** Keys in the table `idempotency_keys`, behind row-level security, so that replicas share them. */
@Injectable()
export class PostgresIdempotencyStore extends IdempotencyStore {
  constructor(private readonly database: Database) {
    super()
  }

  async claim(
    scope: IdempotencyScope,
    fingerprint: Uint8Array,
    now: Date,
    claim_until: Date,
  ): Promise<Claim> {
    return this.database.withOrg(scope, async (tx) => {
      await queries.deleteExpired(tx, scope.org_id, now)
      if (await queries.insertClaim(tx, scope, fingerprint, now, claim_until)) return { state: 'claimed' }
      const kept = await queries.selectKept(tx, scope)
      // Released between the two statements: as good as unfinished, the caller tries again.
      if (!kept) return { state: 'in_progress' }
      if (Buffer.compare(kept.fingerprint, fingerprint) !== 0) return { state: 'conflict' }
      if (kept.status === null) return { state: 'in_progress' }
      return { state: 'kept', status: kept.status, body: kept.body }
    })
  }

  async keep(scope: IdempotencyScope, { status, body }: KeptAnswer, keep_until: Date): Promise<void> {
    const text = body === undefined ? null : JSON.stringify(body)
    await this.database.withOrg(scope, (tx) => queries.updateKept(tx, scope, status, text, keep_until))
  }

  async release(scope: IdempotencyScope): Promise<void> {
    await this.database.withOrg(scope, (tx) => queries.deleteClaim(tx, scope))
  }
}
