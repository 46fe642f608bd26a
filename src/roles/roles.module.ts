import { Module } from '@nestjs/common'
import { LedgerModule } from '../ledger/ledger.module.js'
import { RolesController } from './roles.controller.js'
import { RolesService } from './roles.service.js'

/** An organization's own roles. What the built-in ones may do stands in `core/permissions.ts`. */
@Module({
  imports: [LedgerModule],
  controllers: [RolesController],
  providers: [RolesService],
  exports: [RolesService],
})
export class RolesModule {}
