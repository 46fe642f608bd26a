import { Global, Module } from '@nestjs/common'
import { Mail } from './mail.service.js'

/** E-mail by the operator's own server. Inject `Mail`. */
@Global()
@Module({ providers: [Mail], exports: [Mail] })
export class MailModule {}
