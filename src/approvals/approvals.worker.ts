import { Injectable, Logger, type OnApplicationBootstrap } from '@nestjs/common'
import { SYSTEM } from '../ledger/ledger.service.js'
import { Loop } from '../platform/clock/loop.js'
import { Database } from '../platform/database/database.service.js'
import { Shutdown } from '../platform/http/shutdown.js'
import { selectDue } from './approvals.queries.js'
import { ApprovalLifeService } from './life.service.js'

const LOOK_MS = 1_000
const MOST_A_ROUND = 200

/**
 * Lets the time of approvals pass: the next level, or the end, by the database's clock. Every replica looks; whoever
 * holds the row first writes, and the next one finds nothing left to do. Nothing waits for it: who votes on or uses an
 * approval counts the time that has passed first.
 */
@Injectable()
export class ApprovalsWorker implements OnApplicationBootstrap {
  private readonly logger = new Logger(ApprovalsWorker.name)
  private readonly loop = new Loop('approvals expire', this.logger, async () =>
    (await this.round()) === MOST_A_ROUND ? 0 : LOOK_MS,
  )

  constructor(
    private readonly database: Database,
    private readonly life: ApprovalLifeService,
    shutdown: Shutdown,
  ) {
    shutdown.onClose('work', 'approvals', () => this.loop.stop())
  }

  onApplicationBootstrap(): void {
    this.loop.start(0)
  }

  /** Moves on every approval whose time is over. Returns how many were due. */
  async round(): Promise<number> {
    const due = await selectDue(this.database.background, MOST_A_ROUND)
    for (const { org_id, approval_id } of due) {
      if (this.loop.stopped) break
      await this.database.withOrg({ org_id }, async (tx) => {
        const held = await this.life.hold(tx, org_id, approval_id)
        if (held) await this.life.happen(tx, held, { kind: 'time' }, { actor: SYSTEM, reason: null })
      })
    }
    return due.length
  }
}
