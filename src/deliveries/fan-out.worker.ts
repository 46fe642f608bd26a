import { Injectable, Logger, type OnApplicationBootstrap } from '@nestjs/common'
import { Clock } from '../platform/clock/clock.js'
import { Loop } from '../platform/clock/loop.js'
import { Database } from '../platform/database/database.service.js'
import { Shutdown } from '../platform/http/shutdown.js'
import { DeliveriesService } from './deliveries.service.js'
import * as queries from './deliveries.queries.js'

const POLL_MS = 250
const PRUNE_MS = 60 * 60 * 1_000
/** Organizations in one round. */
const ORGANIZATIONS = 50
/** Entries of one organization in one transaction: at most 16 MB of them. */
const ENTRIES = 500
const KEPT_MS = 30 * 24 * 60 * 60 * 1_000

/**
 * Follows the logs of organizations that have destinations. Every replica runs one; a cursor is held by one of them at
 * a time and moves in the transaction that adds the deliveries, so that each entry is turned into deliveries once.
 */
@Injectable()
export class FanOutWorker implements OnApplicationBootstrap {
  private readonly logger = new Logger(FanOutWorker.name)
  private readonly following = new Loop('events are turned into deliveries', this.logger, () => this.round())
  private readonly pruning = new Loop('old deliveries are removed', this.logger, () => this.prune())

  constructor(
    private readonly database: Database,
    private readonly deliveries: DeliveriesService,
    private readonly clock: Clock,
    shutdown: Shutdown,
  ) {
    shutdown.onClose('work', 'events', () => this.following.stop())
    shutdown.onClose('work', 'old deliveries', () => this.pruning.stop())
  }

  onApplicationBootstrap(): void {
    this.following.start(POLL_MS)
    this.pruning.start(PRUNE_MS)
  }

  private async round(): Promise<number> {
    let more = false
    for (const org_id of await queries.selectBehind(this.database.background, ORGANIZATIONS)) {
      if (this.following.stopped) break
      more = (await this.deliveries.fanOut(org_id, ENTRIES)) || more
    }
    return more ? 0 : POLL_MS
  }

  private async prune(): Promise<number> {
    const before = new Date(this.clock.now() - KEPT_MS)
    for (const org_id of await queries.selectOrganizations(this.database.background)) {
      if (this.pruning.stopped) break
      await this.database.withOrg({ org_id }, (tx) => queries.deleteSettled(tx, org_id, before))
    }
    return PRUNE_MS
  }
}
