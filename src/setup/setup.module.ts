import { Module } from '@nestjs/common'
import { LedgerModule } from '../ledger/ledger.module.js'
import { MembersModule } from '../members/members.module.js'
import { PasswordsModule } from '../passwords/passwords.module.js'
import { SetupController } from './setup.controller.js'
import { SetupService } from './setup.service.js'

/** The first owner of an organization. */
@Module({
  imports: [LedgerModule, MembersModule, PasswordsModule],
  controllers: [SetupController],
  providers: [SetupService],
  exports: [SetupService],
})
export class SetupModule {}
