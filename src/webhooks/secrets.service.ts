import { Injectable } from '@nestjs/common'
import { randomBytes } from 'node:crypto'
import { ID_BYTES, makeId } from '../core/ids.js'
import { KeyRing } from '../platform/crypto/key-ring.js'
import { Resealing } from '../platform/crypto/resealing.js'
import { Database, type Tx } from '../platform/database/database.service.js'
import { makeSecret } from './signature.js'

/** A new one makes the stored secrets unreadable. */
const PURPOSE = 'webhook-secret/v1'
const HOUR_MS = 3_600_000

/** What messages are signed with: kept sealed, each for its own row, and at most two a webhook. */
@Injectable()
export class SecretsService {
  constructor(
    private readonly ring: KeyRing,
    private readonly database: Database,
    resealing: Resealing,
  ) {
    resealing.register('webhook secrets', (org_id) => this.reseal(org_id))
  }

  /** Makes a secret and returns it, this once. */
  async add(tx: Tx, org_id: string, webhook_id: string, created_at: Date): Promise<string> {
    const secret = makeSecret()
    const row = { org_id, webhook_id, secret_id: makeId('whs_', randomBytes(ID_BYTES)) }
    const sealed = this.ring.sealText(PURPOSE, placeOf(row), secret)
    await tx.webhookSecret.create({ data: { ...row, sealed, created_at } })
    return secret
  }

  /** Makes a secret; the one before signs beside it until the overlap ends, and the one before that no more. */
  async rotate(
    tx: Tx,
    org_id: string,
    webhook_id: string,
    overlap_hours: number,
    now: Date,
  ): Promise<string> {
    const where = { org_id, webhook_id }
    if (overlap_hours === 0) await tx.webhookSecret.deleteMany({ where })
    else {
      await tx.webhookSecret.deleteMany({ where: { ...where, expires_at: { not: null } } })
      const expires_at = new Date(now.getTime() + overlap_hours * HOUR_MS)
      await tx.webhookSecret.updateMany({ where, data: { expires_at } })
    }
    return this.add(tx, org_id, webhook_id, now)
  }

  /** Those that sign now, oldest first. */
  async active(tx: Tx, org_id: string, webhook_id: string, now: Date): Promise<string[]> {
    const rows = await tx.webhookSecret.findMany({
      where: { org_id, webhook_id, OR: [{ expires_at: null }, { expires_at: { gt: now } }] },
      orderBy: [{ created_at: 'asc' }, { secret_id: 'asc' }],
    })
    return rows.map((row) => this.ring.openText(PURPOSE, placeOf(row), row.sealed))
  }

  private async reseal(org_id: string): Promise<number> {
    return this.database.withOrg({ org_id }, async (tx) => {
      const rows = await tx.webhookSecret.findMany({ where: { org_id } })
      const old = rows.filter(({ sealed }) => !this.ring.isPresent(sealed))
      for (const row of old) {
        const secret = this.ring.openText(PURPOSE, placeOf(row), row.sealed)
        const sealed = this.ring.sealText(PURPOSE, placeOf(row), secret)
        const { webhook_id, secret_id } = row
        await tx.webhookSecret.updateMany({ where: { org_id, webhook_id, secret_id }, data: { sealed } })
      }
      return old.length
    })
  }
}

/** Where a secret is kept: sealed for one row, it opens in no other. */
const placeOf = (row: {
  readonly org_id: string
  readonly webhook_id: string
  readonly secret_id: string
}): string => [row.org_id, row.webhook_id, row.secret_id].join('\0')
