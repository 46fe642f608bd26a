import { Module } from '@nestjs/common'
import { LedgerModule } from '../ledger/ledger.module.js'
import { RolesModule } from '../roles/roles.module.js'
import { SessionsService } from './sessions.service.js'

/** Browsers that are signed in. Looking a presented session up is the `authentication` capability's. */
@Module({ imports: [LedgerModule, RolesModule], providers: [SessionsService], exports: [SessionsService] })
export class SessionsModule {}
