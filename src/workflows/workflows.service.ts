import { Injectable } from '@nestjs/common'
import { atRisk, type RiskChoice } from '../core/approvals/risk-workflows.js'
import {
  type CombinedWorkflow,
  combineWorkflows,
  NEVER_BY_TIMEOUT,
  SHIPPED_WORKFLOWS,
  type Workflow as WorkflowRules,
  WORKFLOW_NAME,
} from '../core/approvals/workflow.js'
import { readWorkflow } from '../core/approvals/workflow-document.js'
import { canonicalize, type Json } from '../core/ledger/canonical.js'
import { ROLES } from '../core/permissions.js'
import { Problem } from '../core/problems.js'
import { actorOf, LedgerService } from '../ledger/ledger.service.js'
import type { Principal } from '../platform/access/principal.js'
import { Clock } from '../platform/clock/clock.js'
import { Database, type Tx } from '../platform/database/database.service.js'
import { ApprovalSettingsService } from './settings.service.js'
import type { Workflow } from './workflows.dto.js'

/**
 * How people decide, by name: shipped workflows, and those of the organization in their place or beside them. An
 * approval keeps the workflow it was asked for with, so a change concerns later requests only.
 */
@Injectable()
export class WorkflowsService {
  constructor(
    private readonly database: Database,
    private readonly ledger: LedgerService,
    private readonly clock: Clock,
    private readonly settings: ApprovalSettingsService,
  ) {}

  /** Every workflow of the organization, by name. */
  async list(principal: Principal): Promise<Workflow[]> {
    const rows = await this.database.withOrg(principal, (tx) =>
      tx.workflow.findMany({ where: { org_id: principal.org_id } }),
    )
    const own = rows.map(({ name, version, document, updated_at }) => ({
      name,
      version,
      ...rulesOf(document),
      updated_at,
    }))
    const shipped = Object.entries(SHIPPED_WORKFLOWS)
      .filter(([name]) => !own.some((workflow) => workflow.name === name))
      .map(([name, rules]) => ({ name, version: 0, ...rules, updated_at: null }))
    return [...own, ...shipped].sort((a, b) => (a.name < b.name ? -1 : 1))
  }

  /** @throws Problem `workflow_not_found` */
  async get(principal: Principal, name: string): Promise<Workflow> {
    const found = (await this.list(principal)).find((workflow) => workflow.name === name)
    if (!found) throw missing(name)
    return found
  }

  /**
   * Writes a workflow as a whole. The same content again changes nothing.
   * @throws Problem `validation_failed` with every mistake and its path
   */
  async put(principal: Principal, name: string, source: unknown): Promise<Workflow> {
    const { org_id } = principal
    if (!WORKFLOW_NAME.test(name)) {
      const message = 'must be 1 to 63 lower-case letters, digits and hyphens, beginning with a letter'
      throw new Problem('validation_failed', { errors: [{ path: 'name', message }] })
    }
    return this.database.withOrg(principal, async (tx) => {
      const own = await tx.role.findMany({ where: { org_id }, select: { role: true } })
      const roles = new Set<string>([...ROLES, ...own.map(({ role }) => role)])
      const read = readWorkflow(name, source, roles, await this.settings.timeoutMayApprove(tx, org_id))
      if (!read.ok) throw new Problem('validation_failed', { errors: read.errors })
      const where = { org_id_name: { org_id, name } }
      const before = await tx.workflow.findUnique({ where })
      const document = json(read.value)
      const previous = before ? json(rulesOf(before.document)) : json(SHIPPED_WORKFLOWS[name] ?? null)
      if (before && canonicalize(previous) === canonicalize(document)) {
        return { name, version: before.version, ...read.value, updated_at: before.updated_at }
      }
      const version = (before?.version ?? 0) + 1
      const updated_at = new Date(this.clock.now())
      const data = { document: document as object, version, updated_at, updated_by: actorOf(principal).id }
      await tx.workflow.upsert({ where, create: { org_id, name, ...data }, update: data })
      await this.ledger.append(tx, principal, {
        event: 'workflow.updated',
        change: { kind: 'workflow', id: name, op: 'updated', version },
        // As of settings: nothing is asked by what was written before after this entry.
        raises: 'organization',
        ...(previous !== null && { before: previous }),
        after: document,
      })
      return { name, version, ...read.value, updated_at }
    })
  }

  /** The names that rules of the organization's policies can use. */
  async names(principal: Principal): Promise<ReadonlySet<string>> {
    return new Set((await this.list(principal)).map(({ name }) => name))
  }

  /**
   * How people decide what an agent asks: the strictest of the workflows that rules name and of the one that its risk
   * adds. The caller has read the risk in the transaction that asks: whoever changes it, or what it adds, raises a version,
   * so nothing that was asked by the risk from before is committed after it.
   */
  async forAgent(
    tx: Tx,
    org_id: string,
    risk: RiskChoice,
    by_rules: readonly string[],
  ): Promise<CombinedWorkflow> {
    const names = new Set(risk.workflow === null ? by_rules : [...by_rules, risk.workflow])
    const named = await this.named(tx, org_id, [...names])
    const adapted = Object.entries(named).map(([name, rules]) => [name, atRisk(rules, risk.level)] as const)
    return { ...combineWorkflows(Object.fromEntries(adapted)), risk }
  }

  /** The workflows of these names. One that is not there, which no stored policy names, is as strict as `critical`. */
  private async named(
    tx: Tx,
    org_id: string,
    names: readonly string[],
  ): Promise<Readonly<Record<string, WorkflowRules>>> {
    const rows = await tx.workflow.findMany({ where: { org_id, name: { in: [...names] } } })
    const own = new Map(rows.map(({ name, document }) => [name, rulesOf(document)]))
    const [fallback] = [...NEVER_BY_TIMEOUT].flatMap((name) => SHIPPED_WORKFLOWS[name] ?? [])
    return Object.fromEntries(
      names.map((name) => {
        const rules = own.get(name) ?? SHIPPED_WORKFLOWS[name] ?? fallback
        if (!rules) throw new Error('there is no workflow to fall back on')
        return [name, rules]
      }),
    )
  }
}

/** What was not asked for when the first workflows were written. */
const LATER = { escalate_at_risk: null } as const
// The parser of what `put` alone has written: a workflow that was read without errors.
const rulesOf = (document: unknown): WorkflowRules => ({ ...LATER, ...(document as WorkflowRules) })
const json = (rules: WorkflowRules | null): Json => rules as unknown as Json

const missing = (name: string) =>
  new Problem('workflow_not_found', { detail: `No workflow ${JSON.stringify(name.slice(0, 64))} found` })
