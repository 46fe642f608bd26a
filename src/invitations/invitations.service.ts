import { Injectable } from '@nestjs/common'
import { randomBytes } from 'node:crypto'
import { hashKey } from '../authentication/authentication.service.js'
import { ID_BYTES, makeId } from '../core/ids.js'
import { isWellFormedKey, KEY_BYTES, makeKey } from '../core/keys/key-format.js'
import { Problem } from '../core/problems.js'
import { actorOf, LedgerService, SYSTEM } from '../ledger/ledger.service.js'
import { MembersService } from '../members/members.service.js'
import { PasswordsService } from '../passwords/passwords.service.js'
import { type Principal, teamOf } from '../platform/access/principal.js'
import { Clock } from '../platform/clock/clock.js'
import { Settings } from '../platform/config/settings.js'
import { Database, type Tx } from '../platform/database/database.service.js'
import { DEFAULT_LIMIT, type Listed } from '../platform/http/page.dto.js'
import { publicLink } from '../platform/http/public-link.js'
import { Mail } from '../platform/mail/mail.service.js'
import { RolesService } from '../roles/roles.service.js'
import { TeamsService } from '../teams/teams.service.js'
import type {
  AcceptedInvitation,
  AcceptInvitation,
  CreatedInvitation,
  CreateInvitation,
  Invitation,
  ListInvitations,
} from './invitations.dto.js'
import * as queries from './invitations.queries.js'

const PREFIX = 'ivt_'
const LIFETIME_MS = 7 * 24 * 3600 * 1000

/** Everything that may be shown: the hash is not among it. */
const VIEW = {
  invitation_id: true,
  email: true,
  roles: true,
  team: true,
  expires_at: true,
  accepted_at: true,
  revoked_at: true,
  member_id: true,
  created_at: true,
  created_by: true,
} as const

type Row = Omit<Invitation, 'status'> & { accepted_at: Date | null; revoked_at: Date | null }

/** How people become members: by a link that works once, for seven days, while who invited them is to be believed. */
@Injectable()
export class InvitationsService {
  constructor(
    private readonly database: Database,
    private readonly ledger: LedgerService,
    private readonly members: MembersService,
    private readonly passwords: PasswordsService,
    private readonly roles: RolesService,
    private readonly teams: TeamsService,
    private readonly mail: Mail,
    private readonly clock: Clock,
    private readonly settings: Settings,
  ) {
    const count = (tx: Tx, org_id: string, role: string) =>
      tx.invitation.count({ where: { org_id, roles: { has: role }, ...this.open() } })
    this.roles.onUse({ kind: 'open invitations', count })
  }

  /**
   * Invites somebody. The link goes by mail, after the commit; without a mail server, or when that fails, it is in the
   * answer.
   * @throws Problem `forbidden` for more than the principal holds; `conflict` when the address has a member or an open
   * invitation
   */
  async create(principal: Principal, body: CreateInvitation): Promise<CreatedInvitation> {
    const { org_id } = principal
    const { email, roles, team = teamOf(principal) } = body
    const token = makeKey(PREFIX, randomBytes(KEY_BYTES))
    const row = await this.database.withOrg(principal, async (tx) => {
      await this.members.lock(tx, org_id)
      await this.members.assertMayGrant(tx, principal, { roles, team }, 'invite')
      await this.members.assertAddressFree(tx, org_id, email)
      await this.assertNoneOpen(tx, org_id, email)
      if (team !== null) await this.teams.ensure(tx, principal, team)
      const now = this.clock.now()
      const created = await tx.invitation.create({
        data: {
          org_id,
          invitation_id: makeId('inv_', randomBytes(ID_BYTES)),
          email,
          roles,
          team,
          token_hash: hashKey(token),
          expires_at: new Date(now + LIFETIME_MS),
          created_at: new Date(now),
          created_by: actorOf(principal).id,
        },
        select: VIEW,
      })
      await this.record(tx, principal, 'created', created.invitation_id, { after: recorded(created) })
      return created
    })
    return { ...this.view(row), ...(await this.deliver(email, token)) }
  }

  /** The organization's invitations, oldest first; only open ones unless asked for all. */
  async list(principal: Principal, query: ListInvitations): Promise<Listed<Invitation>> {
    const where = { ...seenBy(principal), ...(query.include_settled ? {} : this.open()) }
    return this.database.withOrg(principal, async (tx) => {
      const rows = await tx.invitation.findMany({
        where,
        select: VIEW,
        orderBy: [{ created_at: 'asc' }, { invitation_id: 'asc' }],
        take: query.limit ?? DEFAULT_LIMIT,
        skip: query.offset ?? 0,
      })
      return { items: rows.map((row) => this.view(row)), total: await tx.invitation.count({ where }) }
    })
  }

  /** One invitation, also a settled one. @throws Problem `invitation_not_found` */
  async get(principal: Principal, invitation_id: string): Promise<Invitation> {
    const where = { ...seenBy(principal), invitation_id }
    const row = await this.database.withOrg(principal, (tx) =>
      tx.invitation.findFirst({ where, select: VIEW }),
    )
    if (!row) throw missing(invitation_id)
    return this.view(row)
  }

  /** Takes an open invitation back: its link is dead. @throws Problem `invitation_not_found`, `forbidden` */
  async revoke(principal: Principal, invitation_id: string): Promise<void> {
    const { org_id } = principal
    await this.database.withOrg(principal, async (tx) => {
      await this.members.lock(tx, org_id)
      const where = { ...seenBy(principal), ...this.open(), invitation_id }
      const row = await tx.invitation.findFirst({ where, select: VIEW })
      if (!row) throw missing(invitation_id)
      await this.members.assertMayGrant(tx, principal, row, 'take back invitations of')
      const data = { revoked_at: new Date(this.clock.now()) }
      await tx.invitation.update({ where: { org_id_invitation_id: { org_id, invitation_id } }, data })
      await this.record(tx, principal, 'revoked', invitation_id, { before: recorded(row) })
    })
  }

  /**
   * Makes a member of who has the link.
   * @throws Problem `link_not_valid`, the same for a link that never was, was used, revoked, has expired, or whose
   * inviter may not give these roles any more; `validation_failed` for the password; `conflict`
   */
  async accept({ token, name, password }: AcceptInvitation): Promise<AcceptedInvitation> {
    const token_hash = hashKey(token)
    const org_id = isWellFormedKey(PREFIX, token)
      ? await queries.selectOrganizationOfToken(this.database.hot, token_hash)
      : null
    if (org_id === null) throw notValid()
    // Looked at before the password is hashed, so that a dead link costs nothing, and again when it is used.
    const { email } = await this.database.withOrg({ org_id }, (tx) => this.usable(tx, org_id, token_hash))
    const hashed = await this.passwords.hash(password, [email, name])
    return this.database.withOrg({ org_id }, async (tx) => {
      await this.members.lock(tx, org_id)
      const row = await this.usable(tx, org_id, token_hash)
      const { invitation_id, roles, team, created_by } = row
      const person = { email, name, roles, team, created_by }
      const member = await this.members.add(tx, SYSTEM, org_id, person)
      const { member_id } = member
      await this.passwords.set(tx, org_id, member_id, hashed)
      const data = { accepted_at: new Date(this.clock.now()), member_id }
      await tx.invitation.update({ where: { org_id_invitation_id: { org_id, invitation_id } }, data })
      await this.record(tx, SYSTEM, 'accepted', invitation_id, { after: { ...recorded(row), member_id } })
      return { org_id, member }
    })
  }

  private async deliver(email: string, token: string) {
    const link = publicLink(this.settings, 'invitation', token)
    if (!this.mail.is_on) return { link, mail: 'off', mail_error: null } as const
    const mail_error = await this.mail.send({
      to: email,
      subject: 'You are invited to AgentGuard',
      text: `You are invited to become a member of an organization in AgentGuard.\n\nAccept within seven days:\n${link}\n\nThe link works once. If you do not know what this is about, ignore it.\n`,
    })
    // Who invites does not see a link that was sent: only the owner of the address can accept.
    return mail_error === null
      ? ({ link: null, mail: 'sent', mail_error } as const)
      : ({ link, mail: 'failed', mail_error } as const)
  }

  private async assertNoneOpen(tx: Tx, org_id: string, email: string): Promise<void> {
    const where = { org_id, email, ...this.open() }
    const found = await tx.invitation.findFirst({ where, select: { invitation_id: true } })
    if (!found) return
    const detail = `${email} is invited already: revoke ${found.invitation_id} to invite them anew.`
    throw new Problem('conflict', { detail })
  }

  /** The open invitation with this token, whose inviter is still to be believed. */
  private async usable(tx: Tx, org_id: string, token_hash: string): Promise<Row> {
    const row = await tx.invitation.findFirst({ where: { org_id, token_hash, ...this.open() }, select: VIEW })
    if (!row || !(await this.stands(tx, org_id, row))) throw notValid()
    return row
  }

  /** Whether who invited may still do so: what somebody gave before they were demoted is not given after it. */
  private async stands(tx: Tx, org_id: string, { created_by, roles, team }: Row): Promise<boolean> {
    if (created_by.startsWith('adm_')) return queries.isTrustedKey(tx, org_id, created_by)
    if (!created_by.startsWith('mem_')) return true
    return this.members.mayGive(tx, org_id, created_by, { roles, team })
  }

  private open() {
    return { accepted_at: null, revoked_at: null, expires_at: { gt: new Date(this.clock.now()) } }
  }

  private view({ accepted_at, revoked_at, ...row }: Row): Invitation {
    const isExpired = row.expires_at.getTime() <= this.clock.now()
    const unsettled = isExpired ? 'expired' : 'open'
    return { ...row, status: accepted_at ? 'accepted' : revoked_at ? 'revoked' : unsettled }
  }

  private record(
    tx: Tx,
    actor: Principal | typeof SYSTEM,
    op: 'created' | 'revoked' | 'accepted',
    id: string,
    payload: { before?: Recorded; after?: Recorded & { member_id?: string } },
  ): Promise<void> {
    return this.ledger.append(tx, actor, {
      event: `invitation.${op}`,
      change: { kind: 'invitation', id, op },
      ...payload,
    })
  }
}

/** Whoever is held to a team sees its invitations only. */
function seenBy(principal: Principal) {
  const team = teamOf(principal)
  return { org_id: principal.org_id, ...(team === null ? {} : { team }) }
}

type Recorded = ReturnType<typeof recorded>
const recorded = ({ email, roles, team, expires_at }: Row) => ({
  email,
  roles,
  team,
  expires_at: expires_at.toISOString(),
})

const missing = (invitation_id: string) =>
  new Problem('invitation_not_found', { detail: `Invitation ${invitation_id} not found` })

const notValid = () =>
  new Problem('link_not_valid', { detail: 'This link is not valid (any more). Ask for a new invitation.' })
