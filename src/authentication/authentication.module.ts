import { Global, Module } from '@nestjs/common'
import { Authenticator } from '../platform/access/authenticator.js'
import { SigningKeysModule } from '../signing-keys/signing-keys.module.js'
import { SnapshotsModule } from '../snapshots/snapshots.module.js'
import { AuthenticationService } from './authentication.service.js'

/** Gives the access guard its `Authenticator`. Global, because the guard belongs to no capability. */
@Global()
@Module({
  imports: [SigningKeysModule, SnapshotsModule],
  providers: [AuthenticationService, { provide: Authenticator, useExisting: AuthenticationService }],
  exports: [Authenticator, AuthenticationService],
})
export class AuthenticationModule {}
