import { Injectable, Logger, type OnApplicationBootstrap } from '@nestjs/common'
import { Clock } from '../platform/clock/clock.js'
import { Database } from '../platform/database/database.service.js'
import { insist, PATIENT } from '../platform/database/insist.js'
import { Readiness } from '../platform/health/readiness.js'
import { Shutdown } from '../platform/http/shutdown.js'
import { LedgerService } from './ledger.service.js'
import { ensurePartitions, selectWritable } from './ledger.queries.js'

const DAY_MS = 24 * 60 * 60 * 1000
const RETRY_MS = 60 * 1000
const MONTHS_AHEAD = 2
/** Fewer than this many days of partitions left: the ledger is about to be unable to take entries. */
const MARGIN_DAYS = 3

/** Keeps the log writable: makes the coming months' partitions at start and daily, and drains the queue at the end. */
@Injectable()
export class LedgerWorker implements OnApplicationBootstrap {
  private readonly logger = new Logger(LedgerWorker.name)
  private partitioned_until = 0
  private timer: NodeJS.Timeout | undefined

  constructor(
    private readonly database: Database,
    private readonly ledger: LedgerService,
    private readonly clock: Clock,
    readiness: Readiness,
    shutdown: Shutdown,
  ) {
    readiness.register('ledger', () => this.check())
    shutdown.onClose('work', 'partitions', () => clearTimeout(this.timer))
    shutdown.onClose('ledger', 'append queue', () => this.ledger.drain())
  }

  async onApplicationBootstrap(): Promise<void> {
    await insist(() => this.partition(), PATIENT)
    this.schedule(DAY_MS)
  }

  /** Throws when the log cannot be written, now or soon. */
  private async check(): Promise<void> {
    const left_ms = this.partitioned_until - this.clock.now()
    if (left_ms < MARGIN_DAYS * DAY_MS) throw new Error('the partitions of the coming days are missing')
    if (!(await selectWritable(this.database.hot))) throw new Error('the ledger cannot be written')
  }

  private async partition(): Promise<void> {
    // Partitions belong to no organization; the transaction is bound to none.
    this.partitioned_until = await this.database.withOrg({ org_id: '' }, (tx) =>
      ensurePartitions(tx, MONTHS_AHEAD),
    )
  }

  private schedule(delay_ms: number): void {
    this.timer = setTimeout(() => {
      this.partition().then(
        () => this.schedule(DAY_MS),
        (error: unknown) => {
          this.logger.error(
            { err: error },
            'the coming partitions could not be made; trying again in a minute',
          )
          this.schedule(RETRY_MS)
        },
      )
    }, delay_ms).unref()
  }
}
