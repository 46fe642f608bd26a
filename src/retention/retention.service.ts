import { Injectable, Logger } from '@nestjs/common'
import { randomBytes } from 'node:crypto'
import { uuidv7 } from '../core/ids.js'
import { LedgerService, SYSTEM } from '../ledger/ledger.service.js'
import { LogsExportService } from '../logs/logs.export.service.js'
import type { Principal } from '../platform/access/principal.js'
import { Clock } from '../platform/clock/clock.js'
import { Settings } from '../platform/config/settings.js'
import { Database } from '../platform/database/database.service.js'
import { archive } from './archive.js'
import type { ExpiryRun, Retention, UpdateRetention } from './retention.dto.js'
import * as queries from './retention.queries.js'

/** Entries marked as expired in one transaction. */
const PER_TRANSACTION = 20_000

/**
 * How long entries are kept. A month of a class goes as a whole, in this order: everything in it is under a checkpoint
 * (sealed), written to the archive, marked as expired with its leaf hashes kept and an entry that says so, dropped.
 * A crash between two steps leaves something that the next run goes on from.
 */
@Injectable()
export class RetentionService {
  private readonly logger = new Logger(RetentionService.name)

  constructor(
    private readonly database: Database,
    private readonly ledger: LedgerService,
    private readonly exports: LogsExportService,
    private readonly clock: Clock,
    private readonly settings: Settings,
  ) {}

  async get(principal: Principal): Promise<Retention> {
    const { org_id } = principal
    return this.database.withOrg(principal, async (tx) => ({
      retention_days: (await queries.selectRetention(tx, org_id)) ?? 0,
      expiry: this.settings.ledger_expiry,
      expired_entries: await queries.countExpired(tx, org_id),
    }))
  }

  /** Coming entries, from the one that records this, are kept for so long. */
  async update(principal: Principal, { retention_days }: UpdateRetention): Promise<Retention> {
    const { org_id } = principal
    await this.database
      .withOrg(principal, async (tx) => {
        const before = await queries.selectRetention(tx, org_id)
        await this.ledger.append(tx, principal, {
          event: 'retention.updated',
          change: { kind: 'retention', id: org_id, op: 'updated' },
          before: { retention_days: before },
          after: { retention_days },
        })
        if (!(await queries.setRetention(tx, org_id, retention_days))) throw new Unchanged()
      })
      .catch((error: unknown) => {
        if (!(error instanceof Unchanged)) throw error
      })
    return this.get(principal)
  }

  /** Expires what is due. One replica at a time is enough, several do no harm. */
  async run(): Promise<ExpiryRun> {
    const total = { expired: 0, dropped: 0, waiting: 0 }
    if (this.settings.ledger_expiry === 'off') return total
    for (const month of await queries.selectExpirable(this.database.background)) {
      try {
        for (const holding of await queries.selectHoldings(this.database.background, month)) {
          total.expired += await this.expire(month, holding)
        }
        if (await queries.dropMonth(this.database.background, month)) total.dropped++
        else total.waiting++
      } catch (error) {
        this.logger.warn(
          { err: error, ...month },
          'a month could not be removed yet; the next run tries again',
        )
        total.waiting++
      }
    }
    return total
  }

  private async expire(month: queries.ExpiredMonth, holding: queries.Holding): Promise<number> {
    const { org_id, first_index, last_index } = holding
    const seal = await queries.selectSeal(this.database.background, org_id, last_index + 1)
    if (seal === null) {
      this.logger.warn({ org_id, last_index, ...month }, 'entries that are not signed yet do not expire')
      return 0
    }
    if (this.settings.ledger_expiry === 'archive') {
      // On to the next checkpoint that is kept, so that the archive leads to a signed root by itself.
      const bundle = this.exports.bundleOf(org_id, first_index, seal)
      await archive(this.settings.ledger_archive_dir ?? '', org_id, month, first_index, bundle)
    }
    let expired = 0
    for (let from = first_index; from <= last_index; from += PER_TRANSACTION) {
      const upto = Math.min(from + PER_TRANSACTION - 1, last_index)
      expired += await this.mark(month, holding, from, upto)
    }
    return expired
  }

  private mark(
    month: queries.ExpiredMonth,
    holding: queries.Holding,
    from: number,
    upto: number,
  ): Promise<number> {
    const expiry_id = uuidv7(this.clock.now(), randomBytes(10))
    return this.database.withOrg(holding, async (tx) => {
      const count = await queries.expire(tx, holding, expiry_id, month, from, upto)
      const reason = `retention of ${month.retention_days} days, ${month.month.slice(0, 7)}`
      await this.ledger.append(tx, SYSTEM, {
        event: 'entries.expired',
        redaction: { from, upto, count, reason },
      })
      return count
    })
  }
}

class Unchanged extends Error {}
