import { Injectable } from '@nestjs/common'
import { randomBytes } from 'node:crypto'
import { ADMIN_KEY_PREFIX, hashKey } from '../authentication/authentication.service.js'
import { ID_BYTES, makeId } from '../core/ids.js'
import { KEY_BYTES, keyPrefix, makeKey } from '../core/keys/key-format.js'
import { Problem } from '../core/problems.js'
import { actorOf, LedgerService } from '../ledger/ledger.service.js'
import { type Principal, teamOf } from '../platform/access/principal.js'
import { Clock } from '../platform/clock/clock.js'
import { Database, type Tx } from '../platform/database/database.service.js'
import { DEFAULT_LIMIT, type Listed } from '../platform/http/page.dto.js'
import { RolesService } from '../roles/roles.service.js'
import { TeamsService } from '../teams/teams.service.js'
import type { AdminKey, CreateAdminKey, CreatedAdminKey, ListAdminKeys } from './admin-keys.dto.js'

/** Everything that may be shown: the hash is not among it. */
const VIEW = {
  admin_id: true,
  name: true,
  role: true,
  team: true,
  key_prefix: true,
  expires_at: true,
  revoked_at: true,
  last_used_at: true,
  created_at: true,
  created_by: true,
} as const

/** Keys of administrators. They raise no configuration version: each request looks its key up. */
@Injectable()
export class AdminKeysService {
  constructor(
    private readonly database: Database,
    private readonly ledger: LedgerService,
    private readonly roles: RolesService,
    private readonly teams: TeamsService,
    private readonly clock: Clock,
  ) {
    // An expired key could be shown as having a role that is gone, so only revoking it lets the role go.
    roles.onUse({
      kind: 'administrator keys',
      count: (tx, org_id, own_role) => tx.adminKey.count({ where: { org_id, own_role } }),
    })
  }

  /**
   * Makes a key and returns its secret, this once.
   * @throws Problem `forbidden` for a role or team that the principal may not give; `validation_failed` for a role that
   * there is not, a past expiry, or an owner of a team
   */
  async create(principal: Principal, body: CreateAdminKey): Promise<CreatedAdminKey> {
    const { name, role, team = null, expires_at } = body
    const now = new Date(this.clock.now())
    if (expires_at && expires_at <= now) {
      throw new Problem('validation_failed', {
        errors: [{ path: 'expires_at', message: 'must be in the future' }],
      })
    }
    if (role === 'owner' && team !== null) {
      throw new Problem('validation_failed', {
        errors: [{ path: 'team', message: 'an owner is one of the whole organization; leave it out' }],
      })
    }
    const api_key = makeKey(ADMIN_KEY_PREFIX, randomBytes(KEY_BYTES))
    const row = await this.database.withOrg(principal, async (tx) => {
      await this.assertMayGrant(tx, principal, { role, team }, 'make')
      if (team !== null) await this.teams.ensure(tx, principal, team)
      const created = await tx.adminKey.create({
        data: {
          org_id: principal.org_id,
          admin_id: makeId('adm_', randomBytes(ID_BYTES)),
          name,
          role,
          team,
          key_hash: hashKey(api_key),
          key_prefix: keyPrefix(ADMIN_KEY_PREFIX, api_key),
          expires_at,
          created_at: now,
          created_by: actorOf(principal).id,
        },
        select: VIEW,
      })
      await this.ledger.append(tx, principal, {
        event: 'admin_key.created',
        change: { kind: 'admin_key', id: created.admin_id, op: 'created' },
        after: recorded(created),
      })
      return created
    })
    return { ...row, api_key }
  }

  /** The organization's keys, oldest first; revoked ones only when asked for. */
  async list(
    principal: Principal,
    { limit, offset, include_revoked }: ListAdminKeys,
  ): Promise<Listed<AdminKey>> {
    const where = { ...keysWithin(principal), ...(include_revoked ? {} : { revoked_at: null }) }
    return this.database.withOrg(principal, async (tx) => ({
      items: await tx.adminKey.findMany({
        where,
        select: VIEW,
        orderBy: [{ created_at: 'asc' }, { admin_id: 'asc' }],
        take: limit ?? DEFAULT_LIMIT,
        skip: offset ?? 0,
      }),
      total: await tx.adminKey.count({ where }),
    }))
  }

  /** One key, also a revoked one. @throws Problem `admin_key_not_found` */
  async get(principal: Principal, admin_id: string): Promise<AdminKey> {
    const where = { ...keysWithin(principal), admin_id }
    const key = await this.database.withOrg(principal, (tx) => tx.adminKey.findFirst({ where, select: VIEW }))
    if (!key) throw missing(admin_id)
    return key
  }

  /**
   * Revokes a key: the very next request with it is a 401. A key may revoke itself; the root key remains, so nobody
   * is locked out.
   * @throws Problem `admin_key_not_found`, also when it is revoked already; `forbidden`
   */
  async revoke(principal: Principal, admin_id: string): Promise<void> {
    const revoked_at = new Date(this.clock.now())
    const where = { ...keysWithin(principal), admin_id, revoked_at: null }
    await this.database.withOrg(principal, async (tx) => {
      const before = await tx.adminKey.findFirst({ where, select: VIEW })
      if (!before) throw missing(admin_id)
      await this.assertMayGrant(tx, principal, before, 'revoke')
      // Of two that revoke at once, one finds nothing left to revoke.
      const { count } = await tx.adminKey.updateMany({ where, data: { revoked_at } })
      if (count === 0) throw missing(admin_id)
      await this.ledger.append(tx, principal, {
        event: 'admin_key.revoked',
        change: { kind: 'admin_key', id: admin_id, op: 'revoked' },
        before: recorded(before),
      })
    })
  }

  private async assertMayGrant(
    tx: Tx,
    principal: Principal,
    { role, team }: Pick<AdminKey, 'role' | 'team'>,
    verb: 'make' | 'revoke',
  ): Promise<void> {
    const granted = await this.roles.authorityOf(tx, principal.org_id, [role], { team, path: 'role' })
    this.roles.assertMayGrant(principal, granted, verb, `keys with the role ${role}`)
  }
}

/** Who is held to a team sees the keys that are held to it too; to them the others are missing. */
function keysWithin(principal: Principal): { org_id: string; team?: string } {
  const team = teamOf(principal)
  return { org_id: principal.org_id, ...(team !== null && { team }) }
}

const missing = (admin_id: string) =>
  new Problem('admin_key_not_found', { detail: `Administrator key ${admin_id} not found` })

const recorded = ({ name, role, team, key_prefix, expires_at }: AdminKey) => ({
  name,
  role,
  team,
  key_prefix,
  expires_at: expires_at?.toISOString() ?? null,
})
