import { Module } from '@nestjs/common'
import { LedgerModule } from '../ledger/ledger.module.js'
import { MembersModule } from '../members/members.module.js'
import { PasswordsModule } from '../passwords/passwords.module.js'
import { RolesModule } from '../roles/roles.module.js'
import { TeamsModule } from '../teams/teams.module.js'
import { InvitationsController } from './invitations.controller.js'
import { InvitationsService } from './invitations.service.js'

/** How people become members. */
@Module({
  imports: [LedgerModule, MembersModule, PasswordsModule, RolesModule, TeamsModule],
  controllers: [InvitationsController],
  providers: [InvitationsService],
  exports: [InvitationsService],
})
export class InvitationsModule {}
