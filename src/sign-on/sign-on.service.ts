import { Injectable, Logger } from '@nestjs/common'
import { normalizeEmail } from '../core/people/email.js'
import { Problem } from '../core/problems.js'
import { actorOf, LedgerService } from '../ledger/ledger.service.js'
import { MemberSignOnService, type Vouched } from '../members/members.sign-on.service.js'
import { MembersService } from '../members/members.service.js'
import { authorityOf, type Principal } from '../platform/access/principal.js'
import { Clock } from '../platform/clock/clock.js'
import { Settings } from '../platform/config/settings.js'
import { KeyRing } from '../platform/crypto/key-ring.js'
import { Resealing } from '../platform/crypto/resealing.js'
import { Database, type Tx } from '../platform/database/database.service.js'
import { Metrics } from '../platform/metrics/metrics.js'
import { RolesService } from '../roles/roles.service.js'
import { type BegunSession, SessionsService, type Visit } from '../sessions/sessions.service.js'
import { type Journey, Provider } from './provider.service.js'
import type { GroupRoles, PutSingleSignOn, SingleSignOn } from './sign-on.dto.js'

const SECRET_PURPOSE = 'single-sign-on-secret/v1'
const JOURNEY_PURPOSE = 'single-sign-on-journey/v1'
/** How long somebody may take at their provider. */
export const JOURNEY_MINUTES = 10
const CALLBACK = '/v1/auth/oidc/callback'
const DEFAULT_CLAIM = 'groups'

interface Row {
  org_id: string
  issuer: string
  client_id: string
  client_secret: string
  group_claim: string
  group_roles: unknown
  default_roles: string[]
  required: boolean
  break_glass_member_id: string | null
  updated_at: Date
  updated_by: string
}

type Sealed = Journey & { readonly org_id: string; readonly until: number }

/** Signing in through the organization's own identity provider. */
@Injectable()
export class SignOnService {
  private readonly logger = new Logger('sign-on')

  constructor(
    private readonly database: Database,
    private readonly ledger: LedgerService,
    private readonly members: MembersService,
    private readonly signOn: MemberSignOnService,
    private readonly roles: RolesService,
    private readonly sessions: SessionsService,
    private readonly provider: Provider,
    private readonly ring: KeyRing,
    private readonly clock: Clock,
    private readonly settings: Settings,
    private readonly metrics: Metrics,
    resealing: Resealing,
  ) {
    resealing.register('secrets of single sign-on', (org_id) => this.reseal(org_id))
    const count = (tx: Tx, org_id: string, role: string) => this.countRole(tx, org_id, role)
    this.roles.onUse({ kind: 'single sign-on connections', count })
  }

  /** @throws Problem `single_sign_on_not_found` */
  async get(principal: Principal): Promise<SingleSignOn> {
    const row = await this.find(principal.org_id)
    if (!row) throw missing()
    return this.view(row)
  }

  /**
   * Sets the connection up or changes it. Only an owner may: whoever says who vouches for people could be anybody.
   * @throws Problem `forbidden`, `validation_failed`
   */
  async put(principal: Principal, body: PutSingleSignOn): Promise<SingleSignOn> {
    this.assertOwner(principal)
    const { org_id } = principal
    const { issuer, client_id, group_claim = DEFAULT_CLAIM, group_roles = [], default_roles = [] } = body
    const { required = false, break_glass_member_id = null } = body
    const kept = await this.find(org_id)
    // The secret that is kept is for the one it was given by: nobody has it sent elsewhere.
    const keeps = kept?.issuer === issuer && kept.client_id === client_id
    const client_secret = body.client_secret ?? (keeps ? this.open(kept) : undefined)
    if (client_secret === undefined) {
      throw invalid('client_secret', 'is needed at first, and for another issuer or client')
    }
    const refusal = await this.provider.refusal({ issuer, client_id, client_secret })
    if (refusal !== null) throw invalid('issuer', refusal)
    const row = await this.database.withOrg(principal, async (tx) => {
      await this.members.lock(tx, org_id)
      for (const [i, { roles }] of group_roles.entries()) {
        await this.roles.authorityOf(tx, org_id, roles, { path: `group_roles[${i}].roles` })
      }
      await this.roles.authorityOf(tx, org_id, default_roles, { path: 'default_roles' })
      if (break_glass_member_id !== null) await assertBreakGlass(tx, org_id, break_glass_member_id)
      const now = new Date(this.clock.now())
      const groups = group_roles.map(({ group, roles }) => ({ group, roles }))
      const fields = { issuer, client_id, group_claim, group_roles: groups, default_roles }
      const data = {
        ...fields,
        required,
        break_glass_member_id,
        client_secret: this.ring.sealText(SECRET_PURPOSE, org_id, client_secret),
        updated_at: now,
        updated_by: actorOf(principal).id,
      }
      const before = await tx.singleSignOn.findUnique({ where: { org_id } })
      const after = await tx.singleSignOn.upsert({
        where: { org_id },
        create: { org_id, created_at: now, ...data },
        update: data,
      })
      await this.ledger.append(tx, principal, {
        event: 'single_sign_on.updated',
        change: { kind: 'single_sign_on', id: org_id, op: 'updated' },
        ...(before && { before: recorded(before) }),
        after: { ...recorded(after), client_secret_given: body.client_secret !== undefined },
      })
      return after
    })
    return this.view(row)
  }

  /** Ends it: people sign in with passwords again. @throws Problem `single_sign_on_not_found`, `forbidden` */
  async delete(principal: Principal): Promise<void> {
    this.assertOwner(principal)
    const { org_id } = principal
    await this.database.withOrg(principal, async (tx) => {
      await this.members.lock(tx, org_id)
      const before = await tx.singleSignOn.findUnique({ where: { org_id } })
      if (!before) throw missing()
      await tx.singleSignOn.delete({ where: { org_id } })
      await this.ledger.append(tx, principal, {
        event: 'single_sign_on.deleted',
        change: { kind: 'single_sign_on', id: org_id, op: 'deleted' },
        before: recorded(before),
      })
    })
  }

  /**
   * Where to send a browser, and what it must keep until it comes back.
   * @throws Problem `single_sign_on_not_found`, the same for an organization that does not exist; `not_ready`
   */
  async start(org_id: string): Promise<{ url: string; journey: string }> {
    const row = await this.find(org_id)
    const redirect_uri = this.redirectUri()
    if (!row || redirect_uri === null || !(await this.isActive(org_id))) throw missing()
    try {
      const { url, journey } = await this.provider.start(this.connection(row), redirect_uri)
      const until = this.clock.now() + JOURNEY_MINUTES * 60_000
      const sealed: Sealed = { ...journey, org_id, until }
      return { url: url.href, journey: this.ring.sealText(JOURNEY_PURPOSE, '', JSON.stringify(sealed)) }
    } catch (cause) {
      const detail = 'The identity provider of this organization cannot be reached.'
      throw new Problem('not_ready', { detail, retry_after: 10, cause })
    }
  }

  /**
   * Signs in who comes back from the provider.
   * @param journey what `start` gave this browser @param query as the provider sent it
   * @throws Problem `sign_on_failed` whatever check failed; `sign_on_refused` for who is known but may not
   */
  async finish(journey: string | undefined, query: string, visit: Visit): Promise<BegunSession> {
    const begun = this.journeyOf(journey)
    const row = begun && (await this.find(begun.org_id))
    const redirect_uri = this.redirectUri()
    if (!begun || !row || redirect_uri === null || !(await this.isActive(begun.org_id))) throw this.failed()
    const claims = await this.provider
      .finish(this.connection(row), begun, new URL(redirect_uri + query))
      .catch((cause: unknown) => {
        throw this.failed(cause)
      })
    const vouched = vouchedFor(row, claims)
    const { org_id } = row
    return this.database.withOrg({ org_id }, async (tx) => {
      const member_id = await this.signOn.admit(tx, org_id, vouched)
      const holder = await this.members.holdActive(tx, org_id, member_id)
      if (!holder) throw this.failed()
      await this.members.noteLogin(tx, org_id, member_id)
      return this.sessions.begin(tx, { ...holder, org_id }, 'single_sign_on', visit)
    })
  }

  private failed(cause?: unknown): Problem {
    this.metrics.authenticationFailed('sign_on')
    if (cause !== undefined) this.logger.warn({ err: cause }, 'a sign-on was refused')
    return new Problem('sign_on_failed', { detail: 'Begin again at the sign-in page.' })
  }

  private journeyOf(sealed: string | undefined): Sealed | null {
    if (sealed === undefined) return null
    try {
      const journey = JSON.parse(this.ring.openText(JOURNEY_PURPOSE, '', sealed)) as Sealed
      return journey.until > this.clock.now() ? journey : null
    } catch {
      return null // not ours, or sealed with a key that is gone
    }
  }

  private find(org_id: string): Promise<Row | null> {
    return this.database.withOrg({ org_id }, (tx) => tx.singleSignOn.findUnique({ where: { org_id } }))
  }

  private async isActive(org_id: string): Promise<boolean> {
    const where = { org_id, is_active: true }
    return (await this.database.withOrg({ org_id }, (tx) => tx.organization.count({ where }))) === 1
  }

  private connection(row: Row) {
    return { issuer: row.issuer, client_id: row.client_id, client_secret: this.open(row) }
  }

  private open({ org_id, client_secret }: Row): string {
    return this.ring.openText(SECRET_PURPOSE, org_id, client_secret)
  }

  private redirectUri(): string | null {
    const { public_url } = this.settings
    return public_url === undefined ? null : public_url + CALLBACK
  }

  private view({ org_id: _, client_secret: __, group_roles, ...row }: Row): SingleSignOn {
    const { issuer, client_id, group_claim, default_roles, updated_at, updated_by } = row
    const { required, break_glass_member_id } = row
    const shown = { issuer, client_id, group_claim, group_roles: group_roles as GroupRoles[], default_roles }
    const passwords = { required, break_glass_member_id }
    return { ...shown, ...passwords, redirect_uri: this.redirectUri(), updated_at, updated_by }
  }

  private assertOwner(principal: Principal): void {
    if (authorityOf(principal).owner) return
    throw new Problem('forbidden', {
      detail: 'Only an owner says who vouches for people: it could be said of an owner.',
    })
  }

  private async countRole(tx: Tx, org_id: string, role: string): Promise<number> {
    const row = await tx.singleSignOn.findUnique({ where: { org_id } })
    if (!row) return 0
    const groups = row.group_roles as unknown as GroupRoles[]
    return Number(row.default_roles.includes(role) || groups.some(({ roles }) => roles.includes(role)))
  }

  private async reseal(org_id: string): Promise<number> {
    return this.database.withOrg({ org_id }, async (tx) => {
      const row = await tx.singleSignOn.findUnique({ where: { org_id } })
      if (!row || this.ring.isPresent(row.client_secret)) return 0
      const client_secret = this.ring.sealText(SECRET_PURPOSE, org_id, this.open(row))
      await tx.singleSignOn.update({ where: { org_id }, data: { client_secret } })
      return 1
    })
  }
}

/** What a provider's claims mean here. Claims are its own words: nothing of them is trusted to have a form. */
function vouchedFor(row: Row, claims: Readonly<Record<string, unknown>>): Vouched {
  const { sub, email, email_verified, name } = claims
  const address = typeof email === 'string' && email_verified === true ? normalizeEmail(email) : null
  const groups = claims[row.group_claim]
  const given: unknown[] = Array.isArray(groups) ? groups : [groups]
  const mapped = row.group_roles as GroupRoles[]
  const roles = mapped.filter(({ group }) => given.includes(group)).flatMap((entry) => entry.roles)
  const line =
    typeof name === 'string'
      ? name
          .replace(/\p{Cc}/gu, ' ')
          .trim()
          .slice(0, 255)
      : ''
  return {
    issuer: row.issuer,
    subject: String(sub),
    verified_email: address,
    name: line === '' ? (address ?? String(sub)).slice(0, 255) : line,
    roles: mapped.length === 0 ? null : [...new Set(roles)],
    default_roles: row.default_roles,
  }
}

/** An owner who can sign in without the provider. @throws Problem `validation_failed` */
async function assertBreakGlass(tx: Tx, org_id: string, member_id: string): Promise<void> {
  const owner = { org_id, member_id, is_active: true, roles: { has: 'owner' } }
  const found = (await tx.member.count({ where: owner })) > 0
  if (found && (await tx.memberPassword.count({ where: { org_id, member_id } })) > 0) return
  throw invalid('break_glass_member_id', 'must be an active owner who has a password')
}

const recorded = ({ issuer, client_id, group_claim, group_roles, default_roles, ...row }: Row) => ({
  required: row.required,
  break_glass_member_id: row.break_glass_member_id,
  issuer,
  client_id,
  group_claim,
  group_roles: (group_roles as GroupRoles[]).map(({ group, roles }) => ({ group, roles })),
  default_roles,
})

const missing = () =>
  new Problem('single_sign_on_not_found', { detail: 'This organization has no single sign-on.' })

const invalid = (path: string, message: string) =>
  new Problem('validation_failed', { errors: [{ path, message }] })
