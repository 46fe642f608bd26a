import { Global, Module, type ModuleMetadata, type Type } from '@nestjs/common'
import type { NestExpressApplication } from '@nestjs/platform-express'
import { Test } from '@nestjs/testing'
import type { AddressInfo } from 'node:net'
import { APP_OPTIONS, configureApp } from '../../src/app'
import { AGENT_PERMISSIONS, permissionsOf, ROOT_PERMISSIONS } from '../../src/core/permissions'
import { AccessModule } from '../../src/platform/access/access.module'
import { Authenticator } from '../../src/platform/access/authenticator'
import type { AdminPrincipal, AgentPrincipal, MemberPrincipal } from '../../src/platform/access/principal'
import { Clock } from '../../src/platform/clock/clock'
import { ClockModule } from '../../src/platform/clock/clock.module'
import { ConfigModule } from '../../src/platform/config/config.module'
import type { Settings } from '../../src/platform/config/settings'
import { HealthModule } from '../../src/platform/health/health.module'
import { HttpModule } from '../../src/platform/http/http.module'
import {
  IdempotencyStore,
  type Claim,
  type IdempotencyScope,
  type KeptAnswer,
} from '../../src/platform/idempotency/idempotency.store'
import { LOG_DESTINATION, LoggingModule } from '../../src/platform/logging/logging.module'
import { MetricsModule } from '../../src/platform/metrics/metrics.module'
import { testSettings } from './settings'

export const ROOT_KEY = 'root-key-of-the-platform-tests-0123456789'
export const AUDITOR_KEY = 'adk_auditor'
export const AGENT_KEY = 'agk_agent'
export const SESSION = 'sst_session'

/** Three principals without a database: the platform only needs somebody to say who asks. */
class FakeAuthenticator extends Authenticator {
  async admin(secret: string, requested_org_id: string | undefined): Promise<AdminPrincipal | null> {
    if (secret === ROOT_KEY)
      return { kind: 'root', org_id: requested_org_id ?? 'org_default', permissions: ROOT_PERMISSIONS }
    if (secret !== AUDITOR_KEY) return null
    const permissions = permissionsOf('auditor')
    return {
      kind: 'admin_key',
      key_id: 'adm_auditor',
      role: 'auditor',
      team: null,
      org_id: 'org_default',
      permissions,
    }
  }

  async session(token: string): Promise<MemberPrincipal | null> {
    if (token !== SESSION) return null
    const identity = { org_id: 'org_default', member_id: 'mem_one', session_id: 'ses_one', team: null }
    return { kind: 'member', ...identity, roles: ['auditor'], permissions: permissionsOf('auditor') }
  }

  async agent(secret: string): Promise<AgentPrincipal | null> {
    if (!secret.startsWith(AGENT_KEY)) return null
    const agent_id = `agt_${secret.slice(AGENT_KEY.length) || 'one'}`
    return {
      kind: 'agent',
      agent_id,
      key_id: 'key_one',
      key_hash: '00',
      org_id: 'org_default',
      permissions: AGENT_PERMISSIONS,
    }
  }
}

/** Kept answers in a map; the Postgres store has its own tests. */
export class MemoryIdempotencyStore extends IdempotencyStore {
  readonly rows = new Map<string, { fingerprint: Uint8Array; answer?: KeptAnswer; until: Date }>()

  async claim(scope: IdempotencyScope, fingerprint: Uint8Array, now: Date, until: Date): Promise<Claim> {
    const row = this.rows.get(name(scope))
    if (!row || row.until <= now) {
      this.rows.set(name(scope), { fingerprint, until })
      return { state: 'claimed' }
    }
    if (Buffer.compare(row.fingerprint, fingerprint) !== 0) return { state: 'conflict' }
    return row.answer ? { state: 'kept', ...row.answer } : { state: 'in_progress' }
  }

  async keep(scope: IdempotencyScope, answer: KeptAnswer, until: Date): Promise<void> {
    const row = this.rows.get(name(scope))
    if (row) this.rows.set(name(scope), { ...row, answer, until })
  }

  async release(scope: IdempotencyScope): Promise<void> {
    this.rows.delete(name(scope))
  }
}

const name = (scope: IdempotencyScope): string => JSON.stringify([scope.org_id, scope.principal, scope.key])

/** A clock that stands still until a test moves it. */
export class FakeClock extends Clock {
  constructor(public ms = Date.UTC(2026, 0, 1)) {
    super()
  }

  override now(): number {
    return this.ms
  }

  advance(ms: number): void {
    this.ms += ms
  }
}

export interface PlatformApp {
  readonly url: string
  readonly port: number
  readonly app: NestExpressApplication
  readonly clock: FakeClock
  readonly store: MemoryIdempotencyStore
  /** Log lines so far. Only with a `log_level` other than silent, and only in the first application of a file. */
  readonly lines: string[]
  close(): Promise<void>
}

/** The whole platform over a few controllers of the test, listening on a free port; no database. */
export async function startPlatform(
  controllers: Type[],
  settings: Partial<Settings> = {},
  extra: ModuleMetadata = {},
): Promise<PlatformApp> {
  const clock = new FakeClock()
  const store = new MemoryIdempotencyStore()
  const lines: string[] = []

  @Global()
  @Module({
    providers: [
      { provide: Authenticator, useClass: FakeAuthenticator },
      { provide: IdempotencyStore, useValue: store },
    ],
    exports: [Authenticator, IdempotencyStore],
  })
  class FakesModule {}

  const testing = await Test.createTestingModule({
    ...extra,
    imports: [
      ConfigModule.forRoot(testSettings({ admin_api_key: ROOT_KEY, ...settings })),
      ClockModule,
      LoggingModule,
      MetricsModule,
      HttpModule,
      AccessModule,
      HealthModule,
      FakesModule,
      ...(extra.imports ?? []),
    ],
    controllers,
  })
    .overrideProvider(Clock)
    .useValue(clock)
    .overrideProvider(LOG_DESTINATION)
    .useValue({ write: (line: string) => void lines.push(line) })
    .compile()
  const app = await configureApp(testing.createNestApplication<NestExpressApplication>(APP_OPTIONS))
  await app.listen(0, '127.0.0.1')
  const { port } = app.getHttpServer().address() as AddressInfo
  return { url: `http://127.0.0.1:${port}`, port, app, clock, store, lines, close: () => app.close() }
}
