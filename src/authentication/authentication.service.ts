import { Injectable, Logger, type OnApplicationBootstrap } from '@nestjs/common'
import { createHmac, hash, timingSafeEqual } from 'node:crypto'
import { DEFAULT_ORG_ID } from '../core/ids.js'
import { isWellFormedKey } from '../core/keys/key-format.js'
import { type Permission, permissionsOfRoles, ROOT_PERMISSIONS } from '../core/permissions.js'
import { Problem } from '../core/problems.js'
import { Authenticator } from '../platform/access/authenticator.js'
import type { Credentials } from '../platform/access/credentials.js'
import type { AdminPrincipal, AgentPrincipal, MemberPrincipal } from '../platform/access/principal.js'
import { Clock } from '../platform/clock/clock.js'
import { Settings } from '../platform/config/settings.js'
import { Database } from '../platform/database/database.service.js'
import { Shutdown } from '../platform/http/shutdown.js'
import { TURN_DEFAULTS, Turns } from '../platform/throttling/turns.js'
import { TokenFormatService } from '../signing-keys/token-format.service.js'
import { type AgentSnapshot, SnapshotsService } from '../snapshots/snapshots.service.js'
import * as queries from './authentication.queries.js'

export { DEFAULT_ORG_ID }
export const ADMIN_KEY_PREFIX = 'adk_'

export const SESSION_PREFIX = 'sst_'

/** A browser that is not used for so long is signed out. */
export const SESSION_IDLE_MINUTES = 30

const MINUTE_MS = 60_000

/** What these permissions do ends in an append, which compares the agent's version again: no need to ask twice. */
const CHECKED_AT_COMMIT: ReadonlySet<Permission | 'self'> = new Set<Permission>([
  'decisions:create',
  'logs:create',
])

/** All keys that memory does not know have this many queries between them, so that other queries find room. */
const STRANGERS = 'strangers'
const LOOKUPS = { ...TURN_DEFAULTS, all: 16, refusal: 'not_ready' } as const

const DISAGREE = {
  detail: 'The key header is not the key that the bearer token was made from. Send one credential.',
}

/** SHA-256 is enough: a 256-bit random secret cannot be guessed, so no salt or stretching. */
export const hashKey = (secret: string): string => hash('sha256', secret, 'hex')

/** Who holds which secret. One answer, null, for everything that does not authenticate (C38). */
@Injectable()
export class AuthenticationService extends Authenticator implements OnApplicationBootstrap {
  private readonly logger = new Logger(AuthenticationService.name)
  private readonly root_hash: Buffer
  /** Stands for the root key in tokens made from it. Keyed, because a poor root key could be guessed from its hash. */
  readonly root_key_id: string
  /** Keys used since the last write, by organization. */
  private used = new Map<string, Set<string>>()
  private readonly lookups = new Turns(LOOKUPS)
  private timer: NodeJS.Timeout | undefined

  constructor(
    private readonly settings: Settings,
    private readonly database: Database,
    private readonly snapshots: SnapshotsService,
    private readonly clock: Clock,
    private readonly tokens: TokenFormatService,
    shutdown: Shutdown,
  ) {
    super()
    this.root_hash = hash('sha256', settings.admin_api_key, 'buffer')
    const fingerprint = createHmac('sha256', settings.ledger_kek).update('agentguard/root-key/v1\0')
    this.root_key_id = `root_${fingerprint.update(this.root_hash).digest('hex').slice(0, 32)}`
    shutdown.onClose('work', 'last use of keys', () => {
      clearInterval(this.timer)
      return this.writeLastUsed()
    })
  }

  onApplicationBootstrap(): void {
    this.timer = setInterval(() => void this.writeLastUsed(), MINUTE_MS).unref()
  }

  async admin(secret: string, requested_org_id: string | undefined): Promise<AdminPrincipal | null> {
    if (timingSafeEqual(hash('sha256', secret, 'buffer'), this.root_hash)) return this.root(requested_org_id)
    if (!isWellFormedKey(ADMIN_KEY_PREFIX, secret)) return null
    return this.adminByHash(hashKey(secret), requested_org_id)
  }

  async agent(secret: string, permission: Permission | 'self'): Promise<AgentPrincipal | null> {
    if (!isWellFormedKey(this.settings.api_key_prefix, secret)) return null
    return this.agentByHash(hashKey(secret), permission)
  }

  /** From its key on a token goes the way of a presented key, so whatever ends the key ends it. */
  override async token(
    credentials: Credentials,
    permission: Permission | 'self',
  ): Promise<AdminPrincipal | AgentPrincipal | 'revoked' | null> {
    const token = await this.tokens.read(credentials.bearer ?? '')
    if (!token) return null
    const standing = await queries.selectTokenStanding(this.database.hot, token, new Date(this.clock.now()))
    if (!standing.is_signed) return null
    const isRoot = token.type === 'admin' && token.key_id === this.root_key_id
    const key_hash = isRoot ? this.root_hash.toString('hex') : standing.key_hash
    if (key_hash === null) return null
    if (standing.is_revoked) return 'revoked'
    const principal = await (token.type === 'agent'
      ? this.agentByHash(key_hash, permission)
      : isRoot
        ? this.root(credentials.org_id)
        : this.adminByHash(key_hash, credentials.org_id))
    if (!principal) return null
    for (const key of [credentials.admin, credentials.agent]) {
      if (key !== undefined && hashKey(key) !== key_hash) throw new Problem('credentials_disagree', DISAGREE)
    }
    return principal
  }

  private async root(requested_org_id: string | undefined): Promise<AdminPrincipal> {
    const org_id = requested_org_id ?? DEFAULT_ORG_ID
    if (org_id !== DEFAULT_ORG_ID && !(await queries.existsOrganization(this.database.hot, org_id))) {
      throw new Problem('organization_not_found')
    }
    return { kind: 'root', org_id, permissions: ROOT_PERMISSIONS }
  }

  private async adminByHash(
    key_hash: string,
    requested_org_id: string | undefined,
  ): Promise<AdminPrincipal | null> {
    const row = await queries.selectAdminKey(this.database.hot, key_hash)
    if (!row) return null
    if (requested_org_id !== undefined && requested_org_id !== row.org_id) {
      throw new Problem('organization_not_found')
    }
    this.noteUse(row.org_id, row.admin_id)
    const { org_id, admin_id, role, team } = row
    const permissions = permissionsOfRoles([role], row.own_permissions)
    return { kind: 'admin_key', org_id, key_id: admin_id, role, team, permissions }
  }

  private async agentByHash(
    key_hash: string,
    permission: Permission | 'self',
  ): Promise<AgentPrincipal | null> {
    const snapshot = CHECKED_AT_COMMIT.has(permission)
      ? (this.snapshots.known(key_hash) ?? (await this.lookUp(key_hash)))
      : await this.snapshots.confirmed(key_hash)
    if (!snapshot) return null
    this.noteUse(snapshot.principal.org_id, snapshot.principal.key_id)
    return snapshot.principal
  }

  /** Whose key it is takes a query, so strangers' keys wait for each other and not everybody for them. */
  private async lookUp(key_hash: string): Promise<AgentSnapshot | null> {
    const turn = await this.lookups.take(STRANGERS, 1)
    try {
      return await this.snapshots.byKey(key_hash)
    } finally {
      turn.end()
    }
  }

  async session(token: string, requested_org_id: string | undefined): Promise<MemberPrincipal | null> {
    if (!isWellFormedKey(SESSION_PREFIX, token)) return null
    const row = await queries.selectSession(this.database.hot, hashKey(token), SESSION_IDLE_MINUTES)
    if (!row) return null
    const { org_id, session_id, member_id, roles, team } = row
    if (requested_org_id !== undefined && requested_org_id !== org_id) {
      throw new Problem('organization_not_found')
    }
    if (row.is_stale) {
      await this.database.withOrg(row, (tx) => queries.touchSession(tx, org_id, session_id))
    }
    const permissions = permissionsOfRoles(roles, row.own_permissions)
    return { kind: 'member', org_id, member_id, session_id, roles, team, permissions }
  }

  override knownAgent(secret: string): AgentPrincipal | null {
    if (!isWellFormedKey(this.settings.api_key_prefix, secret)) return null
    const snapshot = this.snapshots.known(hashKey(secret))
    if (!snapshot) return null
    this.noteUse(snapshot.principal.org_id, snapshot.principal.key_id)
    return snapshot.principal
  }

  private noteUse(org_id: string, key_id: string): void {
    const keys = this.used.get(org_id)
    if (keys) keys.add(key_id)
    else this.used.set(org_id, new Set([key_id]))
  }

  /** Best effort: a lost note costs nobody anything, so a failure is logged and forgotten. */
  private async writeLastUsed(): Promise<void> {
    const used = this.used
    this.used = new Map()
    const at = new Date(Math.floor(this.clock.now() / MINUTE_MS) * MINUTE_MS)
    for (const [org_id, ids] of used) {
      try {
        await this.database.withOrg({ org_id }, (tx) => queries.updateLastUsed(tx, org_id, [...ids], at))
      } catch (error) {
        this.logger.warn({ err: error }, 'the last use of keys could not be noted')
      }
    }
  }
}
