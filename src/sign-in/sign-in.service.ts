import { Injectable } from '@nestjs/common'
import { DEFAULT_ORG_ID } from '../authentication/authentication.service.js'
import { Problem } from '../core/problems.js'
import { LedgerService } from '../ledger/ledger.service.js'
import { MembersService } from '../members/members.service.js'
import { type KeptPassword, PasswordsService } from '../passwords/passwords.service.js'
import type { AdminPrincipal, MemberPrincipal } from '../platform/access/principal.js'
import { Database, type Tx } from '../platform/database/database.service.js'
import { type BegunSession, SessionsService, type Visit } from '../sessions/sessions.service.js'
import type { ChangePassword, Login, Me, Session } from './sign-in.dto.js'
import { type Attempt, SignInFailures } from './sign-in-failures.js'
import * as queries from './sign-in.queries.js'

/**
 * How many organizations are tried when none is named. Always exactly so many: the time that an answer takes says
 * nothing about how many there are.
 */
const TRIED_UNNAMED = 3

/** Tried where there is nobody, so that the same is read and verified. */
const NOBODY = { org_id: DEFAULT_ORG_ID, org_name: '', member_id: '' }

interface Fit extends queries.Candidate {
  readonly password: KeptPassword
}

/** Signing in with a password, and what people do with their own account. */
@Injectable()
export class SignInService {
  constructor(
    private readonly database: Database,
    private readonly ledger: LedgerService,
    private readonly members: MembersService,
    private readonly passwords: PasswordsService,
    private readonly sessions: SessionsService,
    private readonly failures: SignInFailures,
  ) {}

  /**
   * Signs in. An address that nobody has, a wrong password, a deactivated member and a suspended organization are one
   * answer, after the same work.
   * @throws Problem `invalid_credentials`, `too_many_failures`, `not_ready`; `organization_ambiguous` when the
   * password is right in several organizations and none was named
   */
  async login(body: Login, visit: Visit): Promise<BegunSession> {
    const attempt = await this.failures.take(body.email, visit.address)
    const fits = await this.fitting(body)
    const [fit, ...others] = fits
    if (!fit) throw this.refused(attempt)
    if (others.length > 0) {
      await this.failures.succeeded(attempt)
      throw ambiguous(fits)
    }
    const begun = await this.begin(fit, attempt, visit)
    if (!begun) throw this.refused(attempt)
    await this.failures.succeeded(attempt)
    return begun
  }

  /** Who asks, and in which organization. */
  async me(principal: AdminPrincipal): Promise<Me> {
    const { org_id } = principal
    const isMember = principal.kind === 'member'
    const organization = await this.database.withOrg(principal, (tx) =>
      tx.organization.findUniqueOrThrow({ where: { org_id }, select: { org_id: true, name: true } }),
    )
    return {
      kind: principal.kind,
      organization,
      member: isMember ? await this.members.get(principal, principal.member_id) : null,
      session_id: isMember ? principal.session_id : null,
      permissions: [...principal.permissions],
    }
  }

  /** Signs out. */
  logout(principal: MemberPrincipal): Promise<void> {
    return this.sessions.end(principal, principal.session_id)
  }

  async listSessions(principal: MemberPrincipal): Promise<Session[]> {
    const sessions = await this.sessions.list(principal)
    return sessions.map((session) => ({
      ...session,
      is_current: session.session_id === principal.session_id,
    }))
  }

  endSession(principal: MemberPrincipal, session_id: string): Promise<void> {
    return this.sessions.end(principal, session_id)
  }

  /**
   * Changes the principal's own password; every other session of theirs ends. Wrong tries count as those of signing in
   * do: whoever finds an open browser cannot guess on.
   * @throws Problem `validation_failed` for a wrong or unusable password, `too_many_failures`
   */
  async changePassword(principal: MemberPrincipal, body: ChangePassword, ip: string | undefined) {
    const { org_id, member_id, session_id } = principal
    const member = await this.members.get(principal, member_id)
    const attempt = await this.failures.take(member.email, ip)
    const kept = await this.database.withOrg(principal, (tx) => this.passwords.find(tx, org_id, member_id))
    if (!(await this.passwords.verify(kept?.hash ?? null, body.current_password))) {
      this.failures.failed(attempt)
      throw wrongCurrent()
    }
    await this.failures.succeeded(attempt)
    const hashed = await this.passwords.hash(body.new_password, [member.email, member.name], 'new_password')
    await this.database.withOrg(principal, async (tx) => {
      await this.members.lock(tx, org_id)
      // Of two changes at once the second was made by somebody who knows the old password only.
      if (!kept || !(await this.isStill(tx, principal, kept))) throw wrongCurrent()
      await this.passwords.set(tx, org_id, member_id, hashed)
      await this.ledger.append(tx, principal, {
        event: 'password.changed',
        change: { kind: 'member', id: member_id, op: 'password_changed' },
      })
      await this.sessions.endAll(tx, principal, org_id, member_id, session_id)
    })
  }

  /** Verifies as many passwords as there may be candidates, whether there are any or not. */
  private async fitting({ email, password, organization }: Login): Promise<Fit[]> {
    const tries = organization === undefined ? TRIED_UNNAMED : 1
    const found = await queries.selectCandidates(this.database.hot, email, organization ?? null, tries)
    const fits: Fit[] = []
    for (let i = 0; i < tries; i++) {
      const { org_id, member_id, org_name } = found[i] ?? NOBODY
      const kept = await this.database.withOrg({ org_id }, (tx) => this.passwords.find(tx, org_id, member_id))
      const fit = await this.passwords.verify(kept?.hash ?? null, password)
      if (fit && kept) fits.push({ org_id, org_name, member_id, password: kept })
    }
    return fits
  }

  /** Null when the member was deactivated, the password changed or became too little while it was verified. */
  private begin(fit: Fit, attempt: Attempt, visit: Visit): Promise<BegunSession | null> {
    const { org_id, member_id } = fit
    return this.database.withOrg({ org_id }, async (tx) => {
      const holder = await this.members.holdActive(tx, org_id, member_id)
      if (!holder || !(await this.isStill(tx, fit, fit.password))) return null
      if (!(await queries.mayUsePassword(tx, org_id, member_id))) return null
      await this.members.noteLogin(tx, org_id, member_id)
      const failures_before = attempt.account_failures - 1
      return this.sessions.begin(tx, { ...holder, org_id }, 'password', visit, { failures_before })
    })
  }

  private async isStill(
    tx: Tx,
    { org_id, member_id }: { readonly org_id: string; readonly member_id: string },
    { hash }: KeptPassword,
  ): Promise<boolean> {
    return (await this.passwords.find(tx, org_id, member_id))?.hash === hash
  }

  private refused(attempt: Attempt): Problem {
    this.failures.failed(attempt)
    return new Problem('invalid_credentials', {
      detail:
        'Email or password is wrong. If you belong to several organizations, name the one you want to sign in to.',
    })
  }
}

const wrongCurrent = () =>
  new Problem('validation_failed', { errors: [{ path: 'current_password', message: 'is wrong' }] })

/** Only for who knows the password of each of them. */
const ambiguous = (fits: readonly queries.Candidate[]) =>
  new Problem('organization_ambiguous', {
    detail: 'Name the organization: send organization with one of these ids.',
    extensions: { organizations: fits.map(({ org_id, org_name: name }) => ({ org_id, name })) },
  })
