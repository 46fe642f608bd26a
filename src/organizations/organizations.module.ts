import { Module } from '@nestjs/common'
import { LedgerModule } from '../ledger/ledger.module.js'
import { OrganizationsController } from './organizations.controller.js'
import { OrganizationsService } from './organizations.service.js'

/** The tenants, and the default one that is made at the first start. */
@Module({
  imports: [LedgerModule],
  controllers: [OrganizationsController],
  providers: [OrganizationsService],
  exports: [OrganizationsService],
})
export class OrganizationsModule {}
