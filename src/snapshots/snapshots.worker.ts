import { Injectable, Logger, type OnApplicationBootstrap } from '@nestjs/common'
import { Clock } from '../platform/clock/clock.js'
import { Database } from '../platform/database/database.service.js'
import { insist, PATIENT } from '../platform/database/insist.js'
import { Shutdown } from '../platform/http/shutdown.js'
import { selectChanges, selectXmin } from './snapshots.queries.js'
import { SnapshotsService } from './snapshots.service.js'

const POLL_MS = 250
/** Smaller differences are the round trip's own noise. */
const CLOCK_NOISE_MS = 20

/**
 * One poll a replica, every 250 ms: drops what changed elsewhere, and measures how far this process's clock is from
 * the database's. It makes staleness rare; what guarantees freshness is the comparison at the commit.
 */
@Injectable()
export class SnapshotsWorker implements OnApplicationBootstrap {
  private readonly logger = new Logger(SnapshotsWorker.name)
  private since = '0'
  private failing = false
  private timer: NodeJS.Timeout | undefined
  private closed = false
  private running: Promise<void> = Promise.resolve()

  constructor(
    private readonly database: Database,
    private readonly snapshots: SnapshotsService,
    private readonly clock: Clock,
    shutdown: Shutdown,
  ) {
    shutdown.onClose('work', 'configuration poll', () => {
      this.closed = true
      clearTimeout(this.timer)
    })
  }

  async onApplicationBootstrap(): Promise<void> {
    this.since = await insist(() => selectXmin(this.database.reserved), PATIENT)
    await insist(() => this.poll(), PATIENT)
    this.schedule()
  }

  /** One look at what changed. Also called when an entry was refused for its time. One at a time, in order. */
  poll(): Promise<void> {
    const next = this.running.then(() => this.look())
    this.running = next.catch(() => undefined)
    return next
  }

  private async look(): Promise<void> {
    const asked_at = Date.now()
    const changes = await selectChanges(this.database.reserved, this.since, this.snapshots.organizations())
    const answered_at = Date.now()
    this.since = changes.xmin
    this.snapshots.dropStale(changes)
    this.snapshots.touch()
    const offset_ms = changes.now_ms - (asked_at + answered_at) / 2
    if (Math.abs(offset_ms - this.clock.offset) > CLOCK_NOISE_MS) this.clock.correct(offset_ms)
  }

  private schedule(): void {
    if (this.closed) return
    this.timer = setTimeout(() => {
      this.poll()
        .then(
          () => this.report(null),
          (error: unknown) => this.report(error),
        )
        .finally(() => this.schedule())
    }, POLL_MS).unref()
  }

  private report(error: unknown): void {
    if (error && !this.failing) this.logger.warn({ err: error }, 'configuration changes cannot be polled')
    if (!error && this.failing) this.logger.log('configuration changes are polled again')
    this.failing = Boolean(error)
  }
}
