import { Injectable } from '@nestjs/common'
import { hash, randomBytes } from 'node:crypto'
import type { Agent } from '../agents/agents.dto.js'
import { AgentsService, subjectOf } from '../agents/agents.service.js'
import { ID_BYTES, makeId } from '../core/ids.js'
import { canonicalize, type Json } from '../core/ledger/canonical.js'
import { canonicalDocument, compilePolicy } from '../core/policy/compile.js'
import { Problem } from '../core/problems.js'
import { actorOf, LedgerService } from '../ledger/ledger.service.js'
import type { Principal } from '../platform/access/principal.js'
import { Clock } from '../platform/clock/clock.js'
import { isZone } from '../platform/clock/zones.js'
import { Database, type Tx } from '../platform/database/database.service.js'
import { DEFAULT_LIMIT, type Listed, type Page } from '../platform/http/page.dto.js'
import type { Policy, PolicyVersion, PolicyVersionSummary } from './policies.dto.js'
import { selectVersions } from './policies.queries.js'

/** Larger documents are named in their entry by digest and version only. */
const MAX_RECORDED_BYTES = 256 * 1024
/** More would help nobody to repair a document, and could make a larger answer than request. */
const MAX_ERRORS = 100

type Document = Pick<Policy, 'allow' | 'deny' | 'require_approval'>
/** A document in its one canonical form: as it is stored, hashed, recorded and answered. */
type DocumentJson = { readonly [list: string]: Json }

interface Content {
  readonly document: DocumentJson
  readonly sha256: string
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
 * An agent's rules. Every change makes a new version, and versions never change: a decision's entry names the one it
 * was made from. A change raises the agent's version, so no decision from the old rules is committed after it.
 */
@Injectable()
export class PoliciesService {
  constructor(
    private readonly database: Database,
    private readonly ledger: LedgerService,
    private readonly agents: AgentsService,
    private readonly clock: Clock,
  ) {}

  /**
   * Replaces the whole policy. A document with the content of the present one changes nothing and answers that.
   * @throws Problem `validation_failed` with every mistake and its path; `agent_not_found`, also for an inactive one;
   * `conflict` when the policy is not what is `expected`
   */
  async put(principal: Principal, agent_id: string, source: unknown, expected: Expected): Promise<Policy> {
    const content = contentOf(source)
    return this.database.withOrg(principal, async (tx) => {
      const agent = await this.agents.lockActive(tx, principal, agent_id)
      const current = await findCurrent(tx, principal, agent_id)
      assertExpected(current, expected)
      return this.store(tx, principal, agent, current, content, null)
    })
  }

  /** @throws Problem `agent_not_found`; `policy_not_found` when the agent has none */
  async get(principal: Principal, agent_id: string): Promise<Policy> {
    const current = await this.database.withOrg(principal, (tx) => findCurrent(tx, principal, agent_id))
    if (current) return view(agent_id, current)
    await this.agents.get(principal, agent_id)
    throw missingPolicy(agent_id)
  }

  /** The versions, newest first; none when the agent never had a policy. @throws Problem `agent_not_found` */
  async listVersions(
    principal: Principal,
    agent_id: string,
    { limit, offset }: Page,
  ): Promise<Listed<PolicyVersionSummary>> {
    const { org_id } = principal
    await this.agents.get(principal, agent_id)
    return this.database.withOrg(principal, async (tx) => {
      const policy = await tx.policy.findUnique({ where: { org_id_agent_id: { org_id, agent_id } } })
      if (!policy) return { items: [], total: 0 }
      const items = await selectVersions(tx, org_id, policy.policy_id, limit ?? DEFAULT_LIMIT, offset ?? 0)
      // Versions are dense, so the current one is also their number.
      return { items, total: policy.version }
    })
  }

  /** @throws Problem `agent_not_found`, `policy_version_not_found` */
  async getVersion(principal: Principal, agent_id: string, version: string): Promise<PolicyVersion> {
    const number = /^[1-9]\d{0,8}$/.test(version) ? Number(version) : null
    const found =
      number !== null &&
      (await this.database.withOrg(principal, (tx) => findVersion(tx, principal, agent_id, number)))
    if (found) return found
    await this.agents.get(principal, agent_id)
    throw missingVersion(agent_id, version)
  }

  /**
   * Makes a new version with the content of an old one, which is compiled again first. Going back to the present
   * content changes nothing.
   * @throws Problem as `put`, and `policy_version_not_found`
   */
  async rollback(
    principal: Principal,
    agent_id: string,
    version: number,
    expected: Expected,
  ): Promise<Policy> {
    return this.database.withOrg(principal, async (tx) => {
      const agent = await this.agents.lockActive(tx, principal, agent_id)
      const wanted = await findVersion(tx, principal, agent_id, version)
      if (!wanted) throw missingVersion(agent_id, version)
      const current = await findCurrent(tx, principal, agent_id)
      assertExpected(current, expected)
      const { allow, deny, require_approval } = wanted
      const content = contentOf({ allow, deny, require_approval })
      return this.store(tx, principal, agent, current, content, version)
    })
  }

  private async store(
    tx: Tx,
    principal: Principal,
    agent: Agent,
    current: Current | null,
    { document, sha256 }: Content,
    rollback_of: number | null,
  ): Promise<Policy> {
    const { agent_id } = agent
    if (current?.sha256 === sha256) return view(agent_id, current)
    const { org_id } = principal
    const now = new Date(this.clock.now())
    const policy_id = current?.policy_id ?? makeId('pol_', randomBytes(ID_BYTES))
    const version = (current?.version ?? 0) + 1
    const { created_at, updated_at } = await tx.policy.upsert({
      where: { org_id_policy_id: { org_id, policy_id } },
      create: { org_id, policy_id, scope: 'agent', agent_id, version, created_at: now, updated_at: now },
      update: { version, updated_at: now },
    })
    const created_by = actorOf(principal).id
    await tx.policyVersion.create({
      data: { org_id, policy_id, version, document, sha256, rollback_of, created_at: now, created_by },
    })
    const op = rollback_of === null ? 'updated' : 'rolled_back'
    await this.ledger.append(tx, principal, {
      event: `policy.${op}`,
      change: { kind: 'policy', id: policy_id, op, scope: 'agent', version, sha256 },
      subject: subjectOf(agent),
      raises: { agent_id },
      before: current ? recorded(current.document) : undefined,
      after: recorded(document),
    })
    return view(agent_id, { policy_id, version, document, sha256, created_at, updated_at })
  }
}

/** Compiles a document, so that none is stored that cannot be decided with, and gives it its canonical form. */
function contentOf(source: unknown): Content {
  const compiled = compilePolicy(source, { isZone })
  if (!compiled.ok) throw new Problem('validation_failed', { errors: compiled.errors.slice(0, MAX_ERRORS) })
  const document = json(canonicalDocument(source))
  return { document, sha256: hash('sha256', canonicalize(document), 'hex') }
}

async function findCurrent(tx: Tx, { org_id }: Principal, agent_id: string): Promise<Current | null> {
  const policy = await tx.policy.findUnique({ where: { org_id_agent_id: { org_id, agent_id } } })
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
  agent_id: string,
  version: number,
): Promise<PolicyVersion | null> {
  const found = await tx.policyVersion.findFirst({ where: { org_id, version, policy: { agent_id } } })
  if (!found) return null
  const { policy_id, sha256, rollback_of, created_at, created_by } = found
  const document = documentOf(json(found.document))
  return { agent_id, policy_id, version, sha256, ...document, rollback_of, created_at, created_by }
}

function assertExpected(current: Current | null, expected: Expected): void {
  if (expected === undefined) return
  if (!current) throw new Problem('conflict', { detail: 'The agent has no policy yet. Leave out If-Match.' })
  if (expected === 'any' || expected === current.version) return
  throw new Problem('conflict', {
    detail: `The policy is at version ${current.version}, not ${expected}. Get it again and apply your change to that.`,
  })
}

const view = (
  agent_id: string,
  { policy_id, version, sha256, document, created_at, updated_at }: Current,
): Policy => ({ agent_id, policy_id, version, sha256, ...documentOf(document), created_at, updated_at })

// The next two are the parser of what this service alone has written: a compiled document.
const json = (value: unknown): DocumentJson => value as DocumentJson
const documentOf = (document: DocumentJson): Document => document as unknown as Document

/** The document for the entry's payload, unless it is too large for that. */
const recorded = (document: DocumentJson): Json | undefined =>
  Buffer.byteLength(canonicalize(document)) <= MAX_RECORDED_BYTES ? document : undefined

const missingPolicy = (agent_id: string) =>
  new Problem('policy_not_found', { detail: `No policy found for agent ${agent_id}` })

const missingVersion = (agent_id: string, version: number | string) =>
  new Problem('policy_version_not_found', {
    detail: `No version ${version} of the policy of agent ${agent_id} found`,
  })
