import { Injectable } from '@nestjs/common'
import { Problem } from '../core/problems.js'
import { LedgerService, SYSTEM } from '../ledger/ledger.service.js'
import { Clock } from '../platform/clock/clock.js'
import type { Tx } from '../platform/database/database.service.js'
import { MembersService } from './members.service.js'

/** Whom the organization's identity provider vouches for. */
export interface Vouched {
  readonly issuer: string
  readonly subject: string
  /** Normalised; null unless the provider says that it verified the address. */
  readonly verified_email: string | null
  readonly name: string
  /** What the person's groups give; null: groups say nothing about roles here. */
  readonly roles: readonly string[] | null
  /** What a new person gets where groups give nothing. */
  readonly default_roles: readonly string[]
}

const FOUND = {
  member_id: true,
  name: true,
  roles: true,
  team: true,
  is_active: true,
  sso_issuer: true,
  sso_subject: true,
} as const

interface Found {
  readonly member_id: string
  readonly name: string
  readonly roles: string[]
  readonly team: string | null
  readonly is_active: boolean
  readonly sso_issuer: string | null
  readonly sso_subject: string | null
}

/** The members of an organization as its identity provider knows them. */
@Injectable()
export class MemberSignOnService {
  constructor(
    private readonly members: MembersService,
    private readonly ledger: LedgerService,
    private readonly clock: Clock,
  ) {}

  /**
   * The member whom the provider vouches for: by its own name for the person (`sub`), which never changes hands; else by
   * a verified address, which binds them from then on; else a new one. Their groups say what they are, each time.
   * @throws Problem `sign_on_refused`
   */
  async admit(tx: Tx, org_id: string, vouched: Vouched): Promise<string> {
    await this.members.lock(tx, org_id)
    const found = (await this.bySubject(tx, org_id, vouched)) ?? (await this.byEmail(tx, org_id, vouched))
    if (!found) return this.add(tx, org_id, vouched)
    if (!found.is_active) throw refused('You were deactivated in this organization.')
    await this.adopt(tx, org_id, found, vouched)
    return found.member_id
  }

  private bySubject(tx: Tx, org_id: string, { issuer, subject }: Vouched): Promise<Found | null> {
    return tx.member.findFirst({
      where: { org_id, sso_issuer: issuer, sso_subject: subject },
      select: FOUND,
    })
  }

  private async byEmail(tx: Tx, org_id: string, vouched: Vouched): Promise<Found | null> {
    const email = vouched.verified_email
    if (email === null) throw refused('Your identity provider has not verified your email address.')
    const found = await tx.member.findUnique({ where: { org_id_email: { org_id, email } }, select: FOUND })
    // Two people of one provider: the address was given to another one, who is not the member.
    if (found?.sso_issuer === vouched.issuer) {
      throw refused('Your email address belongs to another account of your identity provider.')
    }
    return found
  }

  private async add(tx: Tx, org_id: string, vouched: Vouched): Promise<string> {
    const { verified_email: email, name, issuer, subject } = vouched
    const roles = [...(vouched.roles?.length ? vouched.roles : vouched.default_roles)]
    if (email === null || roles.length === 0) throw noRole()
    const sso = { issuer, subject }
    return (await this.members.add(tx, SYSTEM, org_id, { email, name, roles, team: null, sso })).member_id
  }

  /** Binds the member to the provider and gives the roles of their groups. The last owner stays one whatever they say. */
  private async adopt(tx: Tx, org_id: string, found: Found, vouched: Vouched): Promise<void> {
    const wanted = await this.rolesOf(tx, org_id, found, vouched)
    const bound = found.sso_issuer === vouched.issuer && found.sso_subject === vouched.subject
    const changed = wanted.join() !== found.roles.join()
    if (bound && !changed) return
    await tx.member.update({
      where: { org_id_member_id: { org_id, member_id: found.member_id } },
      data: {
        roles: wanted,
        sso_issuer: vouched.issuer,
        sso_subject: vouched.subject,
        updated_at: new Date(this.clock.now()),
      },
    })
    const told = (roles: string[], single_sign_on: boolean) => ({
      name: found.name,
      roles,
      team: found.team,
      is_active: true,
      single_sign_on,
    })
    await this.ledger.append(tx, SYSTEM, {
      event: 'member.updated',
      change: { kind: 'member', id: found.member_id, op: 'updated' },
      before: told(found.roles, bound),
      after: told(wanted, true),
    })
  }

  private async rolesOf(tx: Tx, org_id: string, found: Found, vouched: Vouched): Promise<string[]> {
    if (vouched.roles === null) return found.roles
    const roles = [...(vouched.roles.length > 0 ? vouched.roles : vouched.default_roles)]
    if (roles.length === 0) throw noRole()
    const loses = found.roles.includes('owner') && !roles.includes('owner')
    const isLast = loses && !(await this.members.hasOwner(tx, org_id, found.member_id))
    // Whoever is held to a team cannot be an owner, who is one of the whole organization.
    if (found.team !== null) return roles.filter((role) => role !== 'owner')
    return isLast ? [...roles, 'owner'] : roles
  }
}

const refused = (detail: string) => new Problem('sign_on_refused', { detail })
const noRole = () => refused('None of your groups has a role in this organization.')
