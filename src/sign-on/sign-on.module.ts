import { Module } from '@nestjs/common'
import { LedgerModule } from '../ledger/ledger.module.js'
import { MembersModule } from '../members/members.module.js'
import { RolesModule } from '../roles/roles.module.js'
import { SessionsModule } from '../sessions/sessions.module.js'
import { Provider } from './provider.service.js'
import { SignOnController } from './sign-on.controller.js'
import { SignOnService } from './sign-on.service.js'

/** Signing in through the organization's own identity provider. */
@Module({
  imports: [LedgerModule, MembersModule, RolesModule, SessionsModule],
  controllers: [SignOnController],
  providers: [SignOnService, Provider],
})
export class SignOnModule {}
