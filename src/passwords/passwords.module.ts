import { Module } from '@nestjs/common'
import { PasswordsService } from './passwords.service.js'

/** What people sign in with when no identity provider does it for them. */
@Module({ providers: [PasswordsService], exports: [PasswordsService] })
export class PasswordsModule {}
