import { Injectable, Logger, type OnApplicationBootstrap } from '@nestjs/common'
import { Settings } from '../platform/config/settings.js'
import { Shutdown } from '../platform/http/shutdown.js'
import { RetentionService } from './retention.service.js'

const DAY_MS = 24 * 60 * 60 * 1000
/** After the start: when everything else has begun. */
const FIRST_MS = 10 * 60 * 1000

/** Expires what is due, once a day. */
@Injectable()
export class RetentionWorker implements OnApplicationBootstrap {
  private readonly logger = new Logger(RetentionWorker.name)
  private timer: NodeJS.Timeout | undefined

  constructor(
    private readonly retention: RetentionService,
    private readonly settings: Settings,
    shutdown: Shutdown,
  ) {
    shutdown.onClose('work', 'retention', () => clearTimeout(this.timer))
  }

  onApplicationBootstrap(): void {
    if (this.settings.ledger_expiry !== 'off') this.schedule(FIRST_MS)
  }

  private schedule(delay_ms: number): void {
    this.timer = setTimeout(() => {
      this.retention
        .run()
        .then((run) => this.logger.log(run, 'retention'))
        .catch((error: unknown) => this.logger.error({ err: error }, 'retention failed; tomorrow again'))
        .finally(() => this.schedule(DAY_MS))
    }, delay_ms).unref()
  }
}
