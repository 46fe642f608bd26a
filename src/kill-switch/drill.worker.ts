import { Injectable, Logger, type OnApplicationBootstrap } from '@nestjs/common'
import { Clock } from '../platform/clock/clock.js'
import { Loop } from '../platform/clock/loop.js'
import { Database } from '../platform/database/database.service.js'
import { Shutdown } from '../platform/http/shutdown.js'
import { selectLeftDrills } from './kill-switch.queries.js'
import { DrillSwitchService } from './drill.switch.service.js'

const LOOK_MS = 15_000
/** Longer than any drill, and shorter than anybody would wait for an agent that nobody meant to stop. */
const LEFT_AFTER_MS = 30_000

/** Ends what drills left behind that ended with their process. Every replica looks; the first one finds something. */
@Injectable()
export class KillDrillWorker implements OnApplicationBootstrap {
  private readonly logger = new Logger(KillDrillWorker.name)
  private readonly loop = new Loop('drills that were left are ended', this.logger, async () => {
    await this.round()
    return LOOK_MS
  })

  constructor(
    private readonly database: Database,
    private readonly switches: DrillSwitchService,
    private readonly clock: Clock,
    shutdown: Shutdown,
  ) {
    shutdown.onClose('work', 'drills of the kill switch', () => this.loop.stop())
  }

  onApplicationBootstrap(): void {
    this.loop.start(LOOK_MS)
  }

  /** Ends every switch of a drill that is older than a drill can be. */
  async round(): Promise<void> {
    const before = new Date(this.clock.now() - LEFT_AFTER_MS)
    for (const org_id of await selectLeftDrills(this.database.background, before)) {
      this.logger.warn({ org_id }, 'a drill of the kill switch was left active and is ended')
      await this.switches.endDrills(org_id, { before })
    }
  }
}
