import { Module } from '@nestjs/common'
import { LedgerModule } from '../ledger/ledger.module.js'
import { Database } from '../platform/database/database.service.js'
import { Statistics } from '../platform/health/statistics.js'
import { Metrics } from '../platform/metrics/metrics.js'
import { KillSwitchController } from './kill-switch.controller.js'
import { countActive } from './kill-switch.queries.js'
import { KillSwitchService } from './kill-switch.service.js'

/** Stopping everything, or something, at once. */
@Module({
  imports: [LedgerModule],
  controllers: [KillSwitchController],
  providers: [KillSwitchService],
  exports: [KillSwitchService],
})
export class KillSwitchModule {
  constructor(database: Database, statistics: Statistics, metrics: Metrics) {
    statistics.onKillSwitches(() => countActive(database.background))
    metrics.onKillSwitches(async () => (await statistics.killSwitches()) ?? [])
  }
}
