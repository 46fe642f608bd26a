import { Module } from '@nestjs/common'
import { EnforceModule } from '../enforce/enforce.module.js'
import { ApprovalsModule } from '../approvals/approvals.module.js'
import { AccessRequestsController } from './access-requests.controller.js'
import { AccessRequestsService } from './access-requests.service.js'
import { AuthzenController } from './authzen.controller.js'
import { AuthzenService } from './authzen.service.js'

/** OpenID AuthZEN Authorization API 1.0 and its Access Request and Approval Profile, over `POST /enforce` and approvals. */
@Module({
  imports: [ApprovalsModule, EnforceModule],
  controllers: [AuthzenController, AccessRequestsController],
  providers: [AuthzenService, AccessRequestsService],
})
export class AuthzenModule {}
