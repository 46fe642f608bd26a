import { Module } from '@nestjs/common'
import { EnforceModule } from '../enforce/enforce.module.js'
import { AuthzenController } from './authzen.controller.js'
import { AuthzenService } from './authzen.service.js'

/** OpenID AuthZEN Authorization API 1.0, over `POST /enforce`. */
@Module({
  imports: [EnforceModule],
  controllers: [AuthzenController],
  providers: [AuthzenService],
})
export class AuthzenModule {}
