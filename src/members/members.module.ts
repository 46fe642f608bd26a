import { Module } from '@nestjs/common'
import { LedgerModule } from '../ledger/ledger.module.js'
import { RolesModule } from '../roles/roles.module.js'
import { SessionsModule } from '../sessions/sessions.module.js'
import { TeamsModule } from '../teams/teams.module.js'
import { MembersController } from './members.controller.js'
import { MemberSignOnService } from './members.sign-on.service.js'
import { MembersService } from './members.service.js'

/** The people of an organization and what they may do. */
@Module({
  imports: [LedgerModule, RolesModule, SessionsModule, TeamsModule],
  controllers: [MembersController],
  providers: [MembersService, MemberSignOnService],
  exports: [MembersService, MemberSignOnService],
})
export class MembersModule {}
