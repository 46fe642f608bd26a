import { Module, type DynamicModule } from '@nestjs/common'
import { AccessModule } from './platform/access/access.module.js'
import { ClockModule } from './platform/clock/clock.module.js'
import { ConfigModule } from './platform/config/config.module.js'
import { CryptoModule } from './platform/crypto/crypto.module.js'
import type { Settings } from './platform/config/settings.js'
import type { Connections } from './platform/database/connections.js'
import { DatabaseModule } from './platform/database/database.module.js'
import { Database } from './platform/database/database.service.js'
import { HealthModule } from './platform/health/health.module.js'
import { Readiness } from './platform/health/readiness.js'
import { HttpModule } from './platform/http/http.module.js'
import { Shutdown } from './platform/http/shutdown.js'
import { IdempotencyModule } from './platform/idempotency/idempotency.module.js'
import { LoggingModule } from './platform/logging/logging.module.js'
import { MailModule } from './platform/mail/mail.module.js'
import { Metrics } from './platform/metrics/metrics.js'
import { MetricsModule } from './platform/metrics/metrics.module.js'
import { OutboundModule } from './platform/outbound/outbound.module.js'
import { AdminKeysModule } from './admin-keys/admin-keys.module.js'
import { AgentsModule } from './agents/agents.module.js'
import { ApprovalsModule } from './approvals/approvals.module.js'
import { AuthenticationModule } from './authentication/authentication.module.js'
import { AuthzenModule } from './authzen/authzen.module.js'
import { DataKeysModule } from './data-keys/data-keys.module.js'
import { EnforceModule } from './enforce/enforce.module.js'
import { InvitationsModule } from './invitations/invitations.module.js'
import { EventsModule } from './events/events.module.js'
import { KillDrillModule } from './kill-switch/drill.module.js'
import { KillSwitchModule } from './kill-switch/kill-switch.module.js'
import { LedgerModule } from './ledger/ledger.module.js'
import { ErasureModule } from './erasure/erasure.module.js'
import { KeysModule } from './keys/keys.module.js'
import { LocalDecisionsModule } from './local-decisions/local-decisions.module.js'
import { LogsModule } from './logs/logs.module.js'
import { MembersModule } from './members/members.module.js'
import { OrganizationsModule } from './organizations/organizations.module.js'
import { NotificationsModule } from './notifications/notifications.module.js'
import { PoliciesModule } from './policies/policies.module.js'
import { ProofsModule } from './proofs/proofs.module.js'
import { RetentionModule } from './retention/retention.module.js'
import { RolesModule } from './roles/roles.module.js'
import { TeamsModule } from './teams/teams.module.js'
import { SetupModule } from './setup/setup.module.js'
import { SignInModule } from './sign-in/sign-in.module.js'
import { TokensModule } from './tokens/tokens.module.js'
import { WebhooksModule } from './webhooks/webhooks.module.js'
import { SignOnModule } from './sign-on/sign-on.module.js'
import { WorkflowsModule } from './workflows/workflows.module.js'

const PLATFORM = [
  ClockModule,
  CryptoModule,
  LoggingModule,
  MetricsModule,
  HttpModule,
  AccessModule,
  IdempotencyModule,
  HealthModule,
  MailModule,
  OutboundModule,
]

const CAPABILITIES = [
  AuthenticationModule,
  OrganizationsModule,
  RolesModule,
  TeamsModule,
  AdminKeysModule,
  MembersModule,
  InvitationsModule,
  SetupModule,
  SignInModule,
  SignOnModule,
  TokensModule,
  AgentsModule,
  KeysModule,
  PoliciesModule,
  KillSwitchModule,
  KillDrillModule,
  EventsModule,
  WorkflowsModule,
  ApprovalsModule,
  EnforceModule,
  LocalDecisionsModule,
  AuthzenModule,
  LedgerModule,
  LogsModule,
  ErasureModule,
  DataKeysModule,
  RetentionModule,
  ProofsModule,
  WebhooksModule,
  NotificationsModule,
]

/** The table of contents: what the platform gives, and what the product does with it. */
@Module({})
export class AppModule {
  static forRoot(settings: Settings, connections: Connections): DynamicModule {
    return {
      module: AppModule,
      imports: [
        ConfigModule.forRoot(settings),
        DatabaseModule.forRoot(connections, {
          // Of the service; each worker has its share.
          max: Math.max(
            2,
            Math.ceil((settings.database_pool_size + settings.database_max_overflow) / settings.workers),
          ),
          timeout_ms: settings.database_pool_timeout_s * 1000,
          recycle_s: settings.database_pool_recycle_s,
        }),
        ...PLATFORM,
        ...CAPABILITIES,
      ],
    }
  }

  /** The database knows nothing of probes, metrics and signals: they meet here. */
  constructor(database: Database, readiness: Readiness, metrics: Metrics, shutdown: Shutdown) {
    readiness.register('database', () => database.ping())
    metrics.onCollect('database_connections', () => database.connection_count)
    shutdown.onClose('database', 'database', () => database.close())
  }
}
