import { Injectable } from '@nestjs/common'
import { hash, randomBytes } from 'node:crypto'
import { AgentsService, subjectOf } from '../agents/agents.service.js'
import { ID_BYTES, makeId } from '../core/ids.js'
import { canonicalize, type Json } from '../core/ledger/canonical.js'
import type { Subject } from '../core/ledger/entry.js'
import { canonicalDocument, compilePolicy } from '../core/policy/compile.js'
import { MAX_ERRORS, Problem } from '../core/problems.js'
import { actorOf, type Change, LedgerService } from '../ledger/ledger.service.js'
import type { Principal } from '../platform/access/principal.js'
import { reaches } from '../platform/access/scope.js'
import { Clock } from '../platform/clock/clock.js'
import { isZone } from '../platform/clock/zones.js'
import { Database, type Tx } from '../platform/database/database.service.js'
import { DEFAULT_LIMIT, type Listed, type Page } from '../platform/http/page.dto.js'
import { TeamsService } from '../teams/teams.service.js'
import { WorkflowsService } from '../workflows/workflows.service.js'
import type { Policy, PolicyVersion, PolicyVersionSummary } from './policies.dto.js'
import { nameOf, type PolicyOwner } from './policies.owner.js'
import {
  type ApprovalRulePlace,
  insertVersion,
  lockOrganization,
  selectApprovalRules,
  selectVersions,
} from './policies.queries.js'

export type { ApprovalRulePlace } from './policies.queries.js'

/** Larger documents are named in their entry by digest and version only. */
const MAX_RECORDED_BYTES = 256 * 1024

type Document = Pick<Policy, 'allow' | 'deny' | 'require_approval' | 'require_online'>
/** A document in its one canonical form: as it is stored, hashed, recorded and answered. */
type DocumentJson = { readonly [list: string]: Json }

interface Content {
  readonly document: DocumentJson
  readonly sha256: string
}

/** Content that may become a version, with the canonical text that its digest is of. */
interface NewContent extends Content {
  readonly text: string
}

/** The current version of a policy. */
interface Current extends Content {
  readonly policy_id: string
  readonly version: number
  readonly created_at: Date
  readonly updated_at: Date
}

/** What the caller believes the policy to be (`If-Match`): a version, or merely that there is one. */
export type Expected = number | 'any' | undefined

/**
 * The rules of agents, teams and the organization. Every change makes a new version, and versions never change: a
 * decision's entry names the ones it was made from. A change raises the version of whom it concerns, so no decision
 * from the old rules is committed after it.
 */
@Injectable()
export class PoliciesService {
  constructor(
    private readonly database: Database,
    private readonly ledger: LedgerService,
    private readonly agents: AgentsService,
    private readonly teams: TeamsService,
    private readonly workflows: WorkflowsService,
    private readonly clock: Clock,
  ) {}

  /**
   * Replaces the whole policy. A document with the content of the present one changes nothing and answers that. A team
   * that nobody named before is made.
   * @throws Problem `validation_failed` with every mistake and its path; `agent_not_found`, also for an inactive one;
   * `team_not_found`; `conflict` when the policy is not what is `expected`
   */
  async put(principal: Principal, owner: PolicyOwner, source: unknown, expected: Expected): Promise<Policy> {
    const content = contentOf(source, await this.workflows.names(principal))
    return this.database.withOrg(principal, async (tx) => {
      const held = await this.hold(tx, principal, owner)
      const current = await findCurrent(tx, principal, owner)
      assertExpected(current, expected)
      return this.store(tx, principal, held, current, content, null)
    })
  }

  /** @throws Problem `agent_not_found`, `team_not_found`; `policy_not_found` when the owner has none */
  async get(principal: Principal, owner: PolicyOwner): Promise<Policy> {
    return this.database.withOrg(principal, async (tx) => {
      await this.assertFound(tx, principal, owner)
      const current = await findCurrent(tx, principal, owner)
      if (!current) throw missingPolicy(owner)
      return view(owner, current)
    })
  }

  /** The versions, newest first; none when there never was a policy. @throws Problem `agent_not_found`, `team_not_found` */
  async listVersions(
    principal: Principal,
    owner: PolicyOwner,
    { limit, offset }: Page,
  ): Promise<Listed<PolicyVersionSummary>> {
    const { org_id } = principal
    return this.database.withOrg(principal, async (tx) => {
      await this.assertFound(tx, principal, owner)
      const policy = await tx.policy.findFirst({ where: ownedBy(org_id, owner) })
      if (!policy) return { items: [], total: 0 }
      const items = await selectVersions(tx, org_id, policy.policy_id, limit ?? DEFAULT_LIMIT, offset ?? 0)
      // Versions are dense, so the current one is also their number.
      return { items, total: policy.version }
    })
  }

  /** @throws Problem `agent_not_found`, `team_not_found`, `policy_version_not_found` */
  async getVersion(principal: Principal, owner: PolicyOwner, version: string): Promise<PolicyVersion> {
    const number = /^[1-9]\d{0,8}$/.test(version) ? Number(version) : null
    return this.database.withOrg(principal, async (tx) => {
      await this.assertFound(tx, principal, owner)
      const found = number === null ? null : await findVersion(tx, principal, owner, number)
      if (!found) throw missingVersion(owner, version)
      return found
    })
  }

  /**
   * Makes a new version with the content of an old one, which is compiled again first. Going back to the present
   * content changes nothing.
   * @throws Problem as `put`, and `policy_version_not_found`
   */
  async rollback(
    principal: Principal,
    owner: PolicyOwner,
    version: number,
    expected: Expected,
  ): Promise<Policy> {
    const workflows = await this.workflows.names(principal)
    return this.database.withOrg(principal, async (tx) => {
      const held = await this.hold(tx, principal, owner)
      const wanted = await findVersion(tx, principal, owner, version)
      if (!wanted) throw missingVersion(owner, version)
      const current = await findCurrent(tx, principal, owner)
      assertExpected(current, expected)
      const { allow, deny, require_approval, require_online } = wanted
      const document = { allow, deny, require_approval, ...(require_online && { require_online }) }
      const content = contentOf(document, workflows)
      return this.store(tx, principal, held, current, content, version)
    })
  }

  /** Approval rules as they stood in versions, which never change. See `selectApprovalRules`. */
  approvalRules(tx: Tx, org_id: string, places: readonly ApprovalRulePlace[], most: number) {
    return selectApprovalRules(tx, org_id, places, most)
  }

  /** The owner, whose policy nobody else changes until the transaction ends. */
  private async hold(tx: Tx, principal: Principal, owner: PolicyOwner): Promise<Held> {
    if (owner.scope === 'agent') {
      const subject = subjectOf(await this.agents.lockActive(tx, principal, owner.agent_id))
      return { owner, subject, raises: { agent_id: owner.agent_id } }
    }
    if (owner.scope === 'team' && !reaches(principal, owner.team)) throw missingTeam(owner.team)
    await lockOrganization(tx, principal.org_id)
    if (owner.scope === 'team') await this.teams.ensure(tx, principal, owner.team)
    return { owner, subject: undefined, raises: 'organization' }
  }

  private async assertFound(tx: Tx, principal: Principal, owner: PolicyOwner): Promise<void> {
    if (owner.scope === 'agent') await this.agents.find(tx, principal, owner.agent_id)
    if (owner.scope !== 'team') return
    const where = { org_id: principal.org_id, team: owner.team }
    if (!reaches(principal, owner.team) || (await tx.team.count({ where })) === 0) {
      throw missingTeam(owner.team)
    }
  }

  private async store(
    tx: Tx,
    principal: Principal,
    { owner, subject, raises }: Held,
    current: Current | null,
    { document, sha256, text }: NewContent,
    rollback_of: number | null,
  ): Promise<Policy> {
    if (current?.sha256 === sha256) return view(owner, current)
    const { org_id } = principal
    const now = new Date(this.clock.now())
    const policy_id = current?.policy_id ?? makeId('pol_', randomBytes(ID_BYTES))
    const version = (current?.version ?? 0) + 1
    const { created_at, updated_at } = await tx.policy.upsert({
      where: { org_id_policy_id: { org_id, policy_id } },
      create: { ...ownedBy(org_id, owner), policy_id, version, created_at: now, updated_at: now },
      update: { version, updated_at: now },
    })
    const created_by = actorOf(principal).id
    await insertVersion(tx, org_id, text, {
      policy_id,
      version,
      sha256,
      rollback_of,
      created_at: now,
      created_by,
    })
    const op = rollback_of === null ? 'updated' : 'rolled_back'
    await this.ledger.append(tx, principal, {
      event: `policy.${op}`,
      change: { kind: 'policy', id: policy_id, op, ...scopeOf(owner), version, sha256 },
      ...(subject && { subject }),
      raises,
      before: current ? recorded(current.document) : undefined,
      after: recorded(document, text),
    })
    return view(owner, { policy_id, version, document, sha256, created_at, updated_at })
  }
}

/** An owner that is held, how its entry names it, and whose version goes up. */
interface Held {
  readonly owner: PolicyOwner
  readonly subject: Subject | undefined
  readonly raises: NonNullable<Change['raises']>
}

/** The columns that say whose policy it is. */
const ownedBy = (org_id: string, owner: PolicyOwner) => ({
  org_id,
  scope: owner.scope,
  agent_id: owner.scope === 'agent' ? owner.agent_id : null,
  team: owner.scope === 'team' ? owner.team : null,
})

/** Compiles a document, so that none is stored that cannot be decided with, and gives it its canonical form. */
function contentOf(source: unknown, workflows: ReadonlySet<string>): NewContent {
  const compiled = compilePolicy(source, { isZone, isWorkflow: (name) => workflows.has(name) })
  if (!compiled.ok) throw new Problem('validation_failed', { errors: compiled.errors.slice(0, MAX_ERRORS) })
  const document = json(canonicalDocument(source))
  const text = canonicalize(document)
  return { document, text, sha256: hash('sha256', text, 'hex') }
}

async function findCurrent(tx: Tx, { org_id }: Principal, owner: PolicyOwner): Promise<Current | null> {
  const policy = await tx.policy.findFirst({ where: ownedBy(org_id, owner) })
  if (!policy) return null
  const { policy_id, version, created_at, updated_at } = policy
  const { document, sha256 } = await tx.policyVersion.findUniqueOrThrow({
    where: { org_id_policy_id_version: { org_id, policy_id, version } },
  })
  return { policy_id, version, document: json(document), sha256, created_at, updated_at }
}

async function findVersion(
  tx: Tx,
  { org_id }: Principal,
  owner: PolicyOwner,
  version: number,
): Promise<PolicyVersion | null> {
  const where = { org_id, version, policy: ownedBy(org_id, owner) }
  const found = await tx.policyVersion.findFirst({ where })
  if (!found) return null
  const { policy_id, sha256, rollback_of, created_at, created_by } = found
  const document = documentOf(json(found.document))
  const content = { policy_id, version, sha256, ...document }
  return { ...ownerOf(owner), ...content, rollback_of, created_at, created_by }
}

function assertExpected(current: Current | null, expected: Expected): void {
  if (expected === undefined) return
  if (!current) throw new Problem('conflict', { detail: 'There is no policy yet. Leave out If-Match.' })
  if (expected === 'any' || expected === current.version) return
  throw new Problem('conflict', {
    detail: `The policy is at version ${current.version}, not ${expected}. Get it again and apply your change to that.`,
  })
}

/** How entries name whose policy it is; an agent stands in their subject. */
const scopeOf = (owner: PolicyOwner) =>
  owner.scope === 'team' ? { scope: owner.scope, team: owner.team } : { scope: owner.scope }

/** How answers name the owner. */
function ownerOf(owner: PolicyOwner): Pick<Policy, 'scope' | 'agent_id' | 'team'> {
  const { scope, agent_id, team } = ownedBy('', owner)
  return { scope, agent_id, team }
}

const view = (
  owner: PolicyOwner,
  { policy_id, version, sha256, document, created_at, updated_at }: Current,
): Policy => ({
  ...ownerOf(owner),
  policy_id,
  version,
  sha256,
  ...documentOf(document),
  created_at,
  updated_at,
})

// The next two are the parser of what this service alone has written: a compiled document.
const json = (value: unknown): DocumentJson => value as DocumentJson
const documentOf = (document: DocumentJson): Document => document as unknown as Document

/** The document for the entry's payload, unless it is too large for that. */
const recorded = (document: DocumentJson, text = canonicalize(document)): Json | undefined =>
  Buffer.byteLength(text) <= MAX_RECORDED_BYTES ? document : undefined

const missingPolicy = (owner: PolicyOwner) =>
  new Problem('policy_not_found', { detail: `No policy found for ${nameOf(owner)}` })

const missingVersion = (owner: PolicyOwner, version: number | string) =>
  new Problem('policy_version_not_found', {
    detail: `No version ${version} of the policy of ${nameOf(owner)} found`,
  })

const missingTeam = (team: string) => new Problem('team_not_found', { detail: `Team ${team} not found` })
