import { Module } from '@nestjs/common'
import { AgentsModule } from '../agents/agents.module.js'
import { EnforceModule } from '../enforce/enforce.module.js'
import { KeysModule } from '../keys/keys.module.js'
import { LedgerModule } from '../ledger/ledger.module.js'
import { PoliciesModule } from '../policies/policies.module.js'
import { DrillCanaryService } from './drill.canary.service.js'
import { KillDrillController } from './drill.controller.js'
import { KillDrillService } from './drill.service.js'
import { KillDrillWorker } from './drill.worker.js'
import { KillSwitchModule } from './kill-switch.module.js'

/** Trying the kill switch. Apart from it, because a drill asks for decisions, and decisions know kill switches. */
@Module({
  imports: [AgentsModule, EnforceModule, KeysModule, KillSwitchModule, LedgerModule, PoliciesModule],
  controllers: [KillDrillController],
  providers: [DrillCanaryService, KillDrillService, KillDrillWorker],
})
export class KillDrillModule {}
