import { Module } from '@nestjs/common'
import { KeysModule } from '../keys/keys.module.js'
import { LedgerModule } from '../ledger/ledger.module.js'
import { Database } from '../platform/database/database.service.js'
import { Statistics } from '../platform/health/statistics.js'
import { Metrics } from '../platform/metrics/metrics.js'
import { TeamsModule } from '../teams/teams.module.js'
import { AgentsController } from './agents.controller.js'
import { countAgents } from './agents.queries.js'
import { AgentsService } from './agents.service.js'

/** The programs that ask. */
@Module({
  imports: [KeysModule, LedgerModule, TeamsModule],
  controllers: [AgentsController],
  providers: [AgentsService],
  exports: [AgentsService],
})
export class AgentsModule {
  constructor(database: Database, statistics: Statistics, metrics: Metrics) {
    statistics.onAgents(() => countAgents(database.hot))
    metrics.onCollect('active_agents', async () => (await statistics.agents())?.active ?? 0)
  }
}
