import { Injectable, Logger, type OnApplicationBootstrap } from '@nestjs/common'
import { LedgerService } from '../ledger/ledger.service.js'
import type { Principal } from '../platform/access/principal.js'
import { Clock } from '../platform/clock/clock.js'
import { Settings } from '../platform/config/settings.js'
import { KeyRing } from '../platform/crypto/key-ring.js'
import { Resealing } from '../platform/crypto/resealing.js'
import { Database } from '../platform/database/database.service.js'
import type { DataKey, DataKeyCount } from './data-keys.dto.js'
import * as queries from './data-keys.queries.js'

const PER_TRANSACTION = 200

/**
 * The keys that payloads are sealed with. A new data key seals what comes from now on; a new `LEDGER_KEK` needs no
 * payload to be touched, because only data keys are wrapped by it: they are wrapped anew at the next start.
 */
@Injectable()
export class DataKeysService implements OnApplicationBootstrap {
  private readonly logger = new Logger(DataKeysService.name)

  constructor(
    private readonly database: Database,
    private readonly ledger: LedgerService,
    private readonly ring: KeyRing,
    private readonly resealing: Resealing,
    private readonly clock: Clock,
    private readonly settings: Settings,
  ) {
    resealing.register('data keys', (org_id) => this.rewrap(org_id))
  }

  /** After a rotation of `LEDGER_KEK`: not awaited, since the keys before still open everything. */
  onApplicationBootstrap(): void {
    if (this.settings.ledger_kek_previous.length === 0) return
    this.reseal().catch((error: unknown) =>
      this.logger.error(
        { err: error },
        'not everything could be sealed anew; LEDGER_KEK_PREVIOUS is still needed',
      ),
    )
  }

  /** Makes a new data key for this month. Other replicas seal with it within a minute. */
  async rotate(principal: Principal): Promise<DataKey> {
    const { org_id } = principal
    const key = this.ledger.sealer.makeKey(org_id, this.clock.now())
    const { dek_id, month } = key
    await this.database.withOrg(principal, async (tx) => {
      await queries.insertDataKey(tx, org_id, key)
      await this.ledger.append(tx, principal, {
        event: 'data_key.rotated',
        change: { kind: 'data_key', id: dek_id, op: 'rotated' },
      })
    })
    this.ledger.sealer.forget()
    return { dek_id, month }
  }

  /** How many data keys hang on which key-encryption key: when only the present one is left, the others can go. */
  async list(principal: Principal): Promise<DataKeyCount[]> {
    const counts = await this.database.withOrg(principal, (tx) => queries.countByKek(tx, principal.org_id))
    return counts.map(({ kek_id, count }) => ({ kek_id, present: kek_id === this.ring.present, count }))
  }

  /** Seals everything of every organization with the present key. Safe to run on several replicas at once. */
  async reseal(): Promise<Record<string, number>> {
    const total: Record<string, number> = {}
    for (const org_id of await queries.selectOrganizationIds(this.database.background)) {
      for (const [what, count] of Object.entries(await this.resealing.organization(org_id)))
        total[what] = (total[what] ?? 0) + count
    }
    this.logger.log(
      { resealed: total },
      'everything is sealed with the present LEDGER_KEK; LEDGER_KEK_PREVIOUS can go',
    )
    return total
  }

  private async rewrap(org_id: string): Promise<number> {
    const { present } = this.ring
    for (let done = 0; ;) {
      const count = await this.database.withOrg({ org_id }, async (tx) => {
        const rows = await queries.selectOthers(tx, org_id, present, PER_TRANSACTION)
        for (const row of rows) {
          const key = this.ledger.sealer.rewrap(org_id, row.month, row)
          if (key) await queries.updateDataKey(tx, org_id, row.kek_id, { ...key, month: row.month })
        }
        return rows.length
      })
      done += count
      if (count < PER_TRANSACTION) return done
    }
  }
}
