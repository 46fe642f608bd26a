import { Injectable } from '@nestjs/common'
import { randomBytes } from 'node:crypto'
import { DEFAULT_ORG_ID, hashKey } from '../authentication/authentication.service.js'
import { isWellFormedKey, KEY_BYTES, makeKey } from '../core/keys/key-format.js'
import { Problem } from '../core/problems.js'
import { actorOf, LedgerService, SYSTEM, type SystemActor } from '../ledger/ledger.service.js'
import { MembersService } from '../members/members.service.js'
import { PasswordsService } from '../passwords/passwords.service.js'
import type { Principal } from '../platform/access/principal.js'
import { Clock } from '../platform/clock/clock.js'
import { Settings } from '../platform/config/settings.js'
import { Database, type Tx } from '../platform/database/database.service.js'
import { publicLink } from '../platform/http/public-link.js'
import type { SetUp, SetUpLink, Welcome } from './setup.dto.js'
import { selectOrganizationOfLink } from './setup.queries.js'

const PREFIX = 'stp_'
const LIFETIME_MS = 24 * 3600 * 1000

/** How an organization gets its first owner: a link that works once, for a day, while there is none. */
@Injectable()
export class SetupService {
  constructor(
    private readonly database: Database,
    private readonly ledger: LedgerService,
    private readonly members: MembersService,
    private readonly passwords: PasswordsService,
    private readonly clock: Clock,
    private readonly settings: Settings,
  ) {}

  /**
   * The link of the very first start, for the default organization; null at every later one. Of several replicas that
   * start at once one gets it.
   */
  firstLink(): Promise<SetUpLink | null> {
    const org_id = DEFAULT_ORG_ID
    return this.database.withOrg({ org_id }, async (tx) => {
      await this.members.lock(tx, org_id)
      const begun = (await tx.setupLink.count({ where: { org_id } })) > 0
      return begun || (await this.members.hasOwner(tx, org_id)) ? null : this.issue(tx, SYSTEM, org_id)
    })
  }

  /**
   * Makes a link in the place of any before. @throws Problem `conflict` when the organization has an owner,
   * `organization_not_found`
   */
  create(principal: Principal): Promise<SetUpLink> {
    const { org_id } = principal
    return this.database.withOrg(principal, async (tx) => {
      await this.members.lock(tx, org_id)
      if (await this.members.hasOwner(tx, org_id)) {
        throw new Problem('conflict', {
          detail: 'The organization has an owner: invite further ones with POST /invitations.',
        })
      }
      return this.issue(tx, principal, org_id)
    })
  }

  /**
   * Makes the first owner. @throws Problem `link_not_valid`, the same for a link that never was, is used, replaced or too
   * old; `validation_failed` for the password
   */
  async setUp({ token, email, name, password }: SetUp): Promise<Welcome> {
    const token_hash = hashKey(token)
    const org_id = isWellFormedKey(PREFIX, token)
      ? await selectOrganizationOfLink(this.database.hot, token_hash)
      : null
    if (org_id === null) throw notValid()
    // Looked at before the password is hashed, so that a dead link costs nothing, and again when it is used.
    await this.database.withOrg({ org_id }, (tx) => this.assertOpen(tx, org_id, token_hash))
    const hashed = await this.passwords.hash(password, [email, name])
    return this.database.withOrg({ org_id }, async (tx) => {
      await this.members.lock(tx, org_id)
      await this.assertOpen(tx, org_id, token_hash)
      const person = { email, name, roles: ['owner'], team: null }
      const member = await this.members.add(tx, SYSTEM, org_id, person)
      await this.passwords.set(tx, org_id, member.member_id, hashed)
      const where = { org_id_token_hash: { org_id, token_hash } }
      await tx.setupLink.update({ where, data: { used_at: new Date(this.clock.now()) } })
      await this.ledger.append(tx, SYSTEM, {
        event: 'setup_link.used',
        change: { kind: 'setup_link', id: org_id, op: 'used' },
        after: { member_id: member.member_id },
      })
      return { org_id, member }
    })
  }

  private async assertOpen(tx: Tx, org_id: string, token_hash: string): Promise<void> {
    const now = new Date(this.clock.now())
    const where = { org_id, token_hash, used_at: null, revoked_at: null, expires_at: { gt: now } }
    const isOpen = (await tx.setupLink.count({ where })) === 1
    if (!isOpen || (await this.members.hasOwner(tx, org_id))) throw notValid()
  }

  private async issue(tx: Tx, actor: Principal | SystemActor, org_id: string): Promise<SetUpLink> {
    const now = this.clock.now()
    const created_at = new Date(now)
    const expires_at = new Date(now + LIFETIME_MS)
    const token = makeKey(PREFIX, randomBytes(KEY_BYTES))
    const open = { org_id, used_at: null, revoked_at: null }
    await tx.setupLink.updateMany({ where: open, data: { revoked_at: created_at } })
    const token_hash = hashKey(token)
    const created_by = actorOf(actor).id
    await tx.setupLink.create({ data: { org_id, token_hash, created_at, expires_at, created_by } })
    await this.ledger.append(tx, actor, {
      event: 'setup_link.created',
      change: { kind: 'setup_link', id: org_id, op: 'created' },
      after: { expires_at: expires_at.toISOString() },
    })
    return { link: publicLink(this.settings, 'setup', token), expires_at }
  }
}

const notValid = () =>
  new Problem('link_not_valid', {
    detail: 'This link is not valid (any more). The operator makes a new one with POST /setup-links.',
  })
