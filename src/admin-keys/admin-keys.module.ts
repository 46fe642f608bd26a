import { Module } from '@nestjs/common'
import { LedgerModule } from '../ledger/ledger.module.js'
import { RolesModule } from '../roles/roles.module.js'
import { TeamsModule } from '../teams/teams.module.js'
import { AdminKeysController } from './admin-keys.controller.js'
import { AdminKeysService } from './admin-keys.service.js'

/** Keys of administrators. Looking a presented one up is the `authentication` capability's. */
@Module({
  imports: [LedgerModule, RolesModule, TeamsModule],
  controllers: [AdminKeysController],
  providers: [AdminKeysService],
  exports: [AdminKeysService],
})
export class AdminKeysModule {}
