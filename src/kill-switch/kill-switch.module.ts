import { type MiddlewareConsumer, Module, type NestModule, RequestMethod } from '@nestjs/common'
import { KillAftermathService } from './aftermath.service.js'
import { LedgerModule } from '../ledger/ledger.module.js'
import { Database } from '../platform/database/database.service.js'
import { Statistics } from '../platform/health/statistics.js'
import { Metrics } from '../platform/metrics/metrics.js'
import { KillAtOnceService } from './at-once.service.js'
import { KillSwitchController } from './kill-switch.controller.js'
import { countActive } from './kill-switch.queries.js'
import { DrillSwitchService } from './drill.switch.service.js'
import { KillSwitchService } from './kill-switch.service.js'
import { KillSwitchRecords } from './records.service.js'
import { KillReleaseService } from './release.service.js'

type NestMiddlewareFunction = (request: unknown, response: unknown, next: () => void) => void

/** Stopping everything, or something, at once. */
@Module({
  imports: [LedgerModule],
  controllers: [KillSwitchController],
  providers: [
    DrillSwitchService,
    KillAftermathService,
    KillAtOnceService,
    KillReleaseService,
    KillSwitchRecords,
    KillSwitchService,
  ],
  exports: [DrillSwitchService, KillAftermathService],
})
export class KillSwitchModule implements NestModule {
  constructor(
    private readonly database: Database,
    statistics: Statistics,
    metrics: Metrics,
  ) {
    statistics.onKillSwitches(() => countActive(database.background))
    metrics.onKillSwitches(async () => (await statistics.killSwitches()) ?? [])
  }

  /** From before its credentials are looked up until it is answered, a call that stops uses connections kept for it. */
  configure(consumer: MiddlewareConsumer): void {
    const urgent: NestMiddlewareFunction = (_, __, next) => this.database.urgently(next)
    consumer.apply(urgent).forRoutes({ path: 'kill-switch/activate', method: RequestMethod.POST })
  }
}
