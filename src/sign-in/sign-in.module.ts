import { Module } from '@nestjs/common'
import { LedgerModule } from '../ledger/ledger.module.js'
import { MembersModule } from '../members/members.module.js'
import { PasswordsModule } from '../passwords/passwords.module.js'
import { SessionsModule } from '../sessions/sessions.module.js'
import { SignInController } from './sign-in.controller.js'
import { SignInFailures } from './sign-in-failures.js'
import { SignInService } from './sign-in.service.js'

/** Signing in and out, and what people do with their own account. */
@Module({
  imports: [LedgerModule, MembersModule, PasswordsModule, SessionsModule],
  controllers: [SignInController],
  providers: [SignInService, SignInFailures],
  exports: [SignInService],
})
export class SignInModule {}
