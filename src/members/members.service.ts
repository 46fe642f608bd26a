import { Injectable } from '@nestjs/common'
import { randomBytes } from 'node:crypto'
import { ID_BYTES, makeId } from '../core/ids.js'
import { mayGrant } from '../core/permissions.js'
import { Problem } from '../core/problems.js'
import { actorOf, LedgerService, type SystemActor } from '../ledger/ledger.service.js'
import { type MemberPrincipal, type Principal, teamOf } from '../platform/access/principal.js'
import { Clock } from '../platform/clock/clock.js'
import { Database, type Tx } from '../platform/database/database.service.js'
import { DEFAULT_LIMIT, type Listed } from '../platform/http/page.dto.js'
import { RolesService } from '../roles/roles.service.js'
import { SessionsService } from '../sessions/sessions.service.js'
import { TeamsService } from '../teams/teams.service.js'
import type { ListMembers, Member, UpdateMember } from './members.dto.js'
import * as queries from './members.queries.js'

const VIEW = {
  member_id: true,
  email: true,
  name: true,
  roles: true,
  team: true,
  is_active: true,
  last_login_at: true,
  created_at: true,
  updated_at: true,
  created_by: true,
} as const

/** Somebody to be added: `email` is normalised. */
export type NewMember = Pick<Member, 'email' | 'name' | 'roles' | 'team'> & {
  /** Who the identity provider says this is. */
  readonly sso?: { readonly issuer: string; readonly subject: string }
  /** Who let them in, where that is not the actor. */
  readonly created_by?: string
}

/** The people of an organization. They raise no configuration version: each request looks its session up. */
@Injectable()
export class MembersService {
  constructor(
    private readonly database: Database,
    private readonly ledger: LedgerService,
    private readonly sessions: SessionsService,
    private readonly roles: RolesService,
    private readonly teams: TeamsService,
    private readonly clock: Clock,
  ) {
    // No foreign key holds the elements of an array: who deletes a role asks here, while nobody can be given it.
    const count = (tx: Tx, org_id: string, role: string) =>
      tx.member.count({ where: { org_id, roles: { has: role } } })
    roles.onUse({ kind: 'members', count })
  }

  /** The organization's people, oldest first; only active ones unless asked for all. */
  async list(principal: Principal, query: ListMembers): Promise<Listed<Member>> {
    const { limit, offset, include_inactive, email } = query
    const where = { ...seenBy(principal), email, ...(include_inactive ? {} : { is_active: true }) }
    return this.database.withOrg(principal, async (tx) => ({
      items: await tx.member.findMany({
        where,
        select: VIEW,
        orderBy: [{ created_at: 'asc' }, { member_id: 'asc' }],
        take: limit ?? DEFAULT_LIMIT,
        skip: offset ?? 0,
      }),
      total: await tx.member.count({ where }),
    }))
  }

  /** One person, also a deactivated one. @throws Problem `member_not_found` */
  get(principal: Principal, member_id: string): Promise<Member> {
    return this.database.withOrg(principal, (tx) => this.find(tx, principal, member_id))
  }

  /**
   * Changes what is given; deactivating ends every session in the same transaction.
   * @throws Problem `member_not_found`; `forbidden` when it gives or takes more than the principal holds; `last_owner`
   */
  async update(principal: Principal, member_id: string, changes: UpdateMember): Promise<Member> {
    const { org_id } = principal
    return this.database.withOrg(principal, async (tx) => {
      await this.lock(tx, org_id)
      const before = await this.find(tx, principal, member_id)
      const wanted = { ...recorded(before), ...given(changes) }
      if (same(wanted, recorded(before))) return before
      await this.assertMayGrant(tx, principal, before, 'change')
      await this.assertMayGrant(tx, principal, wanted, 'make')
      if (isOwner(before) && !isOwner(wanted) && !(await this.hasOwner(tx, org_id, member_id))) {
        throw new Problem('last_owner', {
          detail: `${before.name} is the last active owner: make somebody else an owner first.`,
        })
      }
      const now = new Date(this.clock.now())
      if (wanted.team !== null) await this.teams.ensure(tx, principal, wanted.team)
      const after = await tx.member.update({
        where: { org_id_member_id: { org_id, member_id } },
        data: { ...wanted, updated_at: now },
        select: VIEW,
      })
      await this.ledger.append(tx, principal, {
        event: 'member.updated',
        change: { kind: 'member', id: member_id, op: 'updated' },
        before: recorded(before),
        after: recorded(after),
      })
      if (!after.is_active) await this.sessions.endAll(tx, principal, org_id, member_id)
      return after
    })
  }

  /**
   * Adds a person, in the transaction of whoever lets them in, which holds `lock`.
   * @throws Problem `conflict` when somebody has this address already
   */
  async add(tx: Tx, actor: Principal | SystemActor, org_id: string, person: NewMember): Promise<Member> {
    const { sso, created_by = actorOf(actor).id, ...fields } = person
    await this.assertAddressFree(tx, org_id, person.email)
    const now = new Date(this.clock.now())
    if (person.team !== null) await this.teams.ensure(tx, { org_id }, person.team)
    const member = await tx.member.create({
      data: {
        org_id,
        member_id: makeId('mem_', randomBytes(ID_BYTES)),
        ...fields,
        sso_issuer: sso?.issuer,
        sso_subject: sso?.subject,
        created_at: now,
        updated_at: now,
        created_by,
      },
      select: VIEW,
    })
    await this.ledger.append(tx, actor, {
      event: 'member.created',
      change: { kind: 'member', id: member.member_id, op: 'created' },
      after: { email: member.email, ...recorded(member) },
    })
    return member
  }

  /** @throws Problem `conflict` when somebody of the organization has this address */
  async assertAddressFree(tx: Tx, org_id: string, email: string): Promise<void> {
    const taken = await tx.member.findUnique({
      where: { org_id_email: { org_id, email } },
      select: { member_id: true, is_active: true },
    })
    if (!taken) return
    const detail = taken.is_active
      ? `${email} is a member already: ${taken.member_id}.`
      : `${email} was a member and is deactivated: activate ${taken.member_id} instead.`
    throw new Problem('conflict', { detail })
  }

  /** Changes of people take turns until the commit. */
  lock(tx: Tx, org_id: string): Promise<void> {
    return queries.lockPeople(tx, org_id)
  }

  /** The member if active, held as it is until the commit, for whoever begins a session. */
  holdActive(tx: Tx, org_id: string, member_id: string): Promise<queries.HeldMember | null> {
    return queries.holdActive(tx, org_id, member_id)
  }

  async noteLogin(tx: Tx, org_id: string, member_id: string): Promise<void> {
    const last_login_at = new Date(this.clock.now())
    await tx.member.update({ where: { org_id_member_id: { org_id, member_id } }, data: { last_login_at } })
  }

  /** Whether there is an active owner of the whole organization, besides `but`. */
  async hasOwner(tx: Tx, org_id: string, but = ''): Promise<boolean> {
    const where = { org_id, is_active: true, team: null, roles: { has: 'owner' }, member_id: { not: but } }
    return (await tx.member.count({ where })) > 0
  }

  /**
   * Nobody gives or takes more than they hold. A person is read again here: what they held when the request arrived may
   * have been taken while it waited for its turn.
   * @throws Problem `forbidden`; `validation_failed` for a name that is no role, and for an owner of a team alone
   */
  async assertMayGrant(
    tx: Tx,
    principal: Principal,
    { roles, team }: Pick<Member, 'roles' | 'team'>,
    verb: string,
  ): Promise<void> {
    const { org_id } = principal
    if (team !== null && roles.includes('owner')) {
      const message = 'must be null for an owner, who is one of the whole organization'
      throw new Problem('validation_failed', { errors: [{ path: 'team', message }] })
    }
    const granted = await this.roles.authorityOf(tx, org_id, roles, { team, path: 'roles' })
    const now = principal.kind === 'member' ? await this.present(tx, principal) : principal
    this.roles.assertMayGrant(now, granted, verb, `people with the roles ${roles.join(', ')}`)
  }

  /** Whether this person may, as they are now, make others what is named. */
  async mayGive(
    tx: Tx,
    org_id: string,
    member_id: string,
    { roles, team }: Pick<Member, 'roles' | 'team'>,
  ): Promise<boolean> {
    const where = { org_id, member_id, is_active: true }
    const giver = await tx.member.findFirst({ where, select: { roles: true, team: true } })
    if (!giver) return false
    const held = await this.roles.authorityOf(tx, org_id, giver.roles, { team: giver.team, path: 'roles' })
    const given = await this.roles.authorityOf(tx, org_id, roles, { team, path: 'roles' })
    return held.permissions.has('members:write') && mayGrant(held, given)
  }

  /** The principal as the person is now. @throws Problem `forbidden` when they were deactivated */
  private async present(tx: Tx, principal: MemberPrincipal): Promise<MemberPrincipal> {
    const { org_id, member_id } = principal
    const where = { org_id, member_id, is_active: true }
    const now = await tx.member.findFirst({ where, select: { roles: true, team: true } })
    if (!now) throw new Problem('forbidden', { detail: 'You were deactivated.' })
    const { permissions } = await this.roles.authorityOf(tx, org_id, now.roles, { path: 'roles' })
    return { ...principal, ...now, permissions }
  }

  private async find(tx: Tx, principal: Principal, member_id: string): Promise<Member> {
    const member = await tx.member.findFirst({ where: { ...seenBy(principal), member_id }, select: VIEW })
    if (!member) throw new Problem('member_not_found', { detail: `Member ${member_id} not found` })
    return member
  }
}

/** Whoever is held to a team sees its people only. */
function seenBy(principal: Principal) {
  const team = teamOf(principal)
  return { org_id: principal.org_id, ...(team === null ? {} : { team }) }
}

type Recorded = Pick<Member, 'name' | 'roles' | 'team' | 'is_active'>

/** What an entry tells of a person, in its erasable payload. */
const recorded = ({ name, roles, team, is_active }: Member): Recorded => ({ name, roles, team, is_active })

const given = (changes: UpdateMember): Partial<Recorded> =>
  Object.fromEntries(Object.entries(changes).filter(([, value]) => value !== undefined))

const same = (a: Recorded, b: Recorded): boolean => JSON.stringify(a) === JSON.stringify(b)

const isOwner = ({ roles, team, is_active }: Recorded): boolean =>
  is_active && team === null && roles.includes('owner')
