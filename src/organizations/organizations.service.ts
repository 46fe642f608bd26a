import { Injectable, type OnApplicationBootstrap } from '@nestjs/common'
import { randomBytes } from 'node:crypto'
import { DEFAULT_ORG_ID } from '../authentication/authentication.service.js'
import { ID_BYTES, makeId } from '../core/ids.js'
import { Problem } from '../core/problems.js'
import { LedgerService, SYSTEM, type SystemActor } from '../ledger/ledger.service.js'
import type { Principal } from '../platform/access/principal.js'
import { Clock } from '../platform/clock/clock.js'
import { Database, type Tx } from '../platform/database/database.service.js'
import { insist, PATIENT } from '../platform/database/insist.js'
import { DEFAULT_LIMIT, type Listed, type Page } from '../platform/http/page.dto.js'
import type { CreateOrganization, Organization, UpdateOrganization } from './organizations.dto.js'
import { lockOrganization, selectOrganizations } from './organizations.queries.js'

const VIEW = { org_id: true, name: true, is_active: true, created_at: true, updated_at: true } as const

/** The tenants. All of this is the operator's: no organization can see that another exists. */
@Injectable()
export class OrganizationsService implements OnApplicationBootstrap {
  constructor(
    private readonly database: Database,
    private readonly ledger: LedgerService,
    private readonly clock: Clock,
  ) {}

  /** Makes the default organization at the first start, so that single-tenant use never mentions tenants. */
  async onApplicationBootstrap(): Promise<void> {
    // Of several replicas that start at once one inserts; the others wait for its commit and then insert nothing.
    // A machine that starts everything at once is slow, and the process must not end for that.
    const make = () =>
      this.database.withOrg({ org_id: DEFAULT_ORG_ID }, (tx) =>
        this.insert(tx, SYSTEM, DEFAULT_ORG_ID, 'Default'),
      )
    await insist(make, PATIENT)
  }

  /** Makes an organization and opens its log, whose first entry says so. */
  async create(principal: Principal, { name }: CreateOrganization): Promise<Organization> {
    const org_id = makeId('org_', randomBytes(ID_BYTES))
    // Bound to the new organization: row-level security lets nobody write another's rows, not even the operator.
    return this.database.withOrg({ org_id }, async (tx) => {
      await this.insert(tx, principal, org_id, name)
      return tx.organization.findUniqueOrThrow({ where: { org_id }, select: VIEW })
    })
  }

  list(_: Principal, page: Page): Promise<Listed<Organization>> {
    return selectOrganizations(this.database.hot, page.limit ?? DEFAULT_LIMIT, page.offset ?? 0)
  }

  /** @throws Problem `organization_not_found` */
  async get(_: Principal, org_id: string): Promise<Organization> {
    const organization = await this.database.withOrg({ org_id }, (tx) =>
      tx.organization.findUnique({ where: { org_id }, select: VIEW }),
    )
    if (!organization) throw missing(org_id)
    return organization
  }

  /**
   * Renames, suspends or activates. A suspended organization's keys do not authenticate, and no decision that was
   * begun before can still be committed.
   * @throws Problem `organization_not_found`, `conflict` for suspending the default organization
   */
  async update(principal: Principal, org_id: string, changes: UpdateOrganization): Promise<Organization> {
    return this.database.withOrg({ org_id }, async (tx) => {
      const before = await lockOrganization(tx, org_id)
      if (!before) throw missing(org_id)
      if (changes.is_active === false && org_id === DEFAULT_ORG_ID) {
        throw new Problem('conflict', { detail: 'The default organization cannot be suspended.' })
      }
      const { name = before.name, is_active = before.is_active } = changes
      if (name === before.name && is_active === before.is_active) return before
      const updated_at = new Date(this.clock.now())
      const after = await tx.organization.update({
        where: { org_id },
        data: { name, is_active, updated_at },
        select: VIEW,
      })
      await this.ledger.append(tx, principal, {
        event: 'organization.updated',
        change: { kind: 'organization', id: org_id, op: 'updated' },
        raises: 'organization',
        before: recorded(before),
        after: recorded(after),
      })
      return after
    })
  }

  private async insert(tx: Tx, actor: Principal | SystemActor, org_id: string, name: string): Promise<void> {
    const now = new Date(this.clock.now())
    const { count } = await tx.organization.createMany({
      data: [{ org_id, name, created_at: now, updated_at: now }],
      skipDuplicates: true,
    })
    if (count === 0) return
    await this.ledger.open(tx, org_id)
    await this.ledger.append(tx, actor, {
      event: 'organization.created',
      change: { kind: 'organization', id: org_id, op: 'created' },
      after: { name, is_active: true },
    })
  }
}

const missing = (org_id: string) =>
  new Problem('organization_not_found', { detail: `Organization ${org_id} not found` })

const recorded = ({ name, is_active }: Organization) => ({ name, is_active })
