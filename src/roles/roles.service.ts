import { Injectable } from '@nestjs/common'
import {
  type Authority,
  authorityOfRoles,
  isBuiltinRole,
  mayGrant,
  permissionsOf,
  ROLE_PERMISSIONS,
  ROLES,
} from '../core/permissions.js'
import { Problem } from '../core/problems.js'
import { actorOf, LedgerService } from '../ledger/ledger.service.js'
import { authorityOf, type Principal } from '../platform/access/principal.js'
import { Clock } from '../platform/clock/clock.js'
import { Database, type Tx } from '../platform/database/database.service.js'
import type { CreateRole, ReplaceRole, Role } from './roles.dto.js'
import { holdRoles, lockRole, lockRoles, type RoleRow } from './roles.queries.js'

/** More would help nobody to see who may do what. */
const MAX_ROLES = 100
/** Names of principals that are no roles: a role of that name would mislead whoever reads the log. */
const RESERVED: ReadonlySet<string> = new Set(['root', 'system', 'agent', 'member'])

/** How many of one kind have a role, for the answer to who wants to delete it. */
export interface RoleUse {
  /** In the plural, e.g. `administrator keys`. */
  readonly kind: string
  readonly count: (tx: Tx, org_id: string, role: string) => Promise<number>
}

/**
 * An organization's own roles, and what any role gives.
 *
 * Whoever authenticates resolves roles in its own statement with the SQL function `own_role_permissions` and
 * `permissionsOfRoles`, so that a change holds from the next request on; whoever gives a role asks `authorityOf` here.
 */
@Injectable()
export class RolesService {
  private readonly uses: RoleUse[] = []

  constructor(
    private readonly database: Database,
    private readonly ledger: LedgerService,
    private readonly clock: Clock,
  ) {}

  /** Tells of another kind of thing that has roles. Its table refers to `roles`, so that none is missed. */
  onUse(use: RoleUse): void {
    this.uses.push(use)
  }

  /**
   * What these roles give, for whoever gives them: until its transaction ends they neither change nor go.
   * @param path where in the body the roles stand, for the error
   * @throws Problem `validation_failed` for a name that is no role of this organization
   */
  async authorityOf(
    tx: Tx,
    org_id: string,
    roles: readonly string[],
    { team = null, path }: { readonly team?: string | null; readonly path: string },
  ): Promise<Authority> {
    const own = roles.filter((role) => !isBuiltinRole(role))
    const found = await holdRoles(tx, org_id, own)
    const unknown = own.find((name) => !found.some(({ role }) => role === name))
    if (unknown !== undefined) {
      const message = `is not a role of this organization; built in are ${ROLES.join(', ')}`
      throw new Problem('validation_failed', { errors: [{ path, message }] })
    }
    return authorityOfRoles(
      roles,
      found.flatMap(({ permissions }) => permissions),
      team,
    )
  }

  /**
   * Nobody gives or takes more than they hold.
   * @param what as in "keys with the role admin"
   * @throws Problem `forbidden`
   */
  assertMayGrant(principal: Principal, granted: Authority, verb: string, what: string): void {
    const holder = authorityOf(principal)
    if (mayGrant(holder, granted)) return
    const beyond = holder.team !== null && granted.team !== holder.team
    throw new Problem('forbidden', {
      detail: beyond
        ? `You are held to the team ${holder.team ?? ''} and may ${verb} ${what} only for it.`
        : `You may not ${verb} ${what}: nobody gives or takes more than they hold.`,
    })
  }

  /** @throws Problem `conflict` for a name that is taken or one role too many; `forbidden` */
  async create(principal: Principal, { role, description = '', permissions }: CreateRole): Promise<Role> {
    if (isBuiltinRole(role) || RESERVED.has(role)) {
      throw new Problem('conflict', { detail: `${role} is a name of the service's own; choose another.` })
    }
    this.assertHolds(principal, permissions)
    const { org_id } = principal
    const now = new Date(this.clock.now())
    return this.database.withOrg(principal, async (tx) => {
      await lockRoles(tx, org_id)
      if ((await tx.role.count({ where: { org_id, role } })) > 0) {
        throw new Problem('conflict', { detail: `There is a role ${role} already; change it with PUT.` })
      }
      if ((await tx.role.count({ where: { org_id } })) >= MAX_ROLES) {
        throw new Problem('conflict', { detail: `There are ${MAX_ROLES} roles, which is the most.` })
      }
      const created_by = actorOf(principal).id
      const dates = { created_at: now, updated_at: now }
      const data = { org_id, role, description, permissions: inOrder(permissions), created_by, ...dates }
      const row = await tx.role.create({ data })
      await this.record(tx, principal, 'created', role, null, row)
      return view(row)
    })
  }

  /** The built-in roles, then the organization's own by name. */
  async list(principal: Principal): Promise<Role[]> {
    const { org_id } = principal
    const rows = await this.database.withOrg(principal, (tx) =>
      tx.role.findMany({ where: { org_id }, orderBy: { role: 'asc' } }),
    )
    return [...ROLES.map(builtin), ...rows.map(view)]
  }

  /** @throws Problem `role_not_found` */
  async get(principal: Principal, role: string): Promise<Role> {
    if (isBuiltinRole(role)) return builtin(role)
    const { org_id } = principal
    const row = await this.database.withOrg(principal, (tx) =>
      tx.role.findUnique({ where: { org_id_role: { org_id, role } } }),
    )
    if (!row) throw missing(role)
    return view(row)
  }

  /**
   * Replaces what a role may do, from the next request on. A description that is left out becomes empty.
   * @throws Problem `role_not_found`, `conflict` for a built-in one, `forbidden`
   */
  async replace(
    principal: Principal,
    role: string,
    { description = '', permissions }: ReplaceRole,
  ): Promise<Role> {
    const { org_id } = principal
    return this.database.withOrg(principal, async (tx) => {
      const before = await this.lock(tx, principal, role)
      this.assertHolds(principal, [...before.permissions, ...permissions])
      const wanted = { description, permissions: inOrder(permissions) }
      if (sameRole(before, wanted)) return view(before)
      const after = await tx.role.update({
        where: { org_id_role: { org_id, role } },
        data: { ...wanted, updated_at: new Date(this.clock.now()) },
      })
      await this.record(tx, principal, 'updated', role, before, after)
      return view(after)
    })
  }

  /** @throws Problem `role_not_found`; `conflict` for a built-in one and for one that anybody has; `forbidden` */
  async delete(principal: Principal, role: string): Promise<void> {
    const { org_id } = principal
    await this.database.withOrg(principal, async (tx) => {
      const before = await this.lock(tx, principal, role)
      this.assertHolds(principal, before.permissions)
      const found: string[] = []
      for (const { kind, count } of this.uses) {
        const number = await count(tx, org_id, role)
        if (number > 0) found.push(`${number} ${kind}`)
      }
      if (found.length > 0) {
        throw new Problem('conflict', {
          detail: `The role ${role} is in use by ${found.join(' and ')}; give them another role first.`,
        })
      }
      await tx.role.delete({ where: { org_id_role: { org_id, role } } })
      await this.record(tx, principal, 'deleted', role, before, null)
    })
  }

  private async lock(tx: Tx, { org_id }: Principal, role: string): Promise<RoleRow> {
    if (isBuiltinRole(role)) {
      throw new Problem('conflict', { detail: `${role} is a built-in role, which nobody can change.` })
    }
    const row = await lockRole(tx, org_id, role)
    if (!row) throw missing(role)
    return row
  }

  private assertHolds(principal: Principal, permissions: readonly string[]): void {
    this.assertMayGrant(
      principal,
      { permissions: new Set(inOrder(permissions)), owner: false, team: null },
      'give or take',
      `the permissions ${permissions.join(', ')}`,
    )
  }

  private record(
    tx: Tx,
    principal: Principal,
    op: 'created' | 'updated' | 'deleted',
    role: string,
    before: RoleRow | null,
    after: RoleRow | null,
  ): Promise<void> {
    return this.ledger.append(tx, principal, {
      event: `role.${op}`,
      change: { kind: 'role', id: role, op },
      ...(before && { before: recorded(before) }),
      ...(after && { after: recorded(after) }),
    })
  }
}

/** In the order of the one table, whatever order they came in. */
const inOrder = (permissions: readonly string[]) =>
  ROLE_PERMISSIONS.filter((permission) => permissions.includes(permission))

const builtin = (role: (typeof ROLES)[number]): Role => ({
  role,
  built_in: true,
  description: '',
  permissions: inOrder([...permissionsOf(role)]),
  created_at: null,
  updated_at: null,
  created_by: null,
})

const view = ({ role, description, permissions, created_at, updated_at, created_by }: RoleRow): Role => ({
  role,
  built_in: false,
  description,
  permissions,
  created_at,
  updated_at,
  created_by,
})

type Content = Pick<RoleRow, 'description' | 'permissions'>

const sameRole = (a: Content, b: Content): boolean =>
  a.description === b.description && a.permissions.join() === b.permissions.join()

const recorded = ({ description, permissions }: Content) => ({ description, permissions })

const missing = (role: string) => new Problem('role_not_found', { detail: `Role ${role} not found` })
