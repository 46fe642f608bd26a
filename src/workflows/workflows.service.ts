import { Injectable } from '@nestjs/common'
import { NEVER_BY_TIMEOUT, SHIPPED_WORKFLOWS, WORKFLOW_NAME } from '../core/approvals/workflow.js'
import type { Workflow as WorkflowRules } from '../core/approvals/workflow.js'
import { readWorkflow } from '../core/approvals/workflow-document.js'
import { canonicalize, type Json } from '../core/ledger/canonical.js'
import { ROLES } from '../core/permissions.js'
import { Problem } from '../core/problems.js'
import { actorOf, LedgerService } from '../ledger/ledger.service.js'
import type { Principal } from '../platform/access/principal.js'
import { Clock } from '../platform/clock/clock.js'
import { Database, type Tx } from '../platform/database/database.service.js'
import type { ApprovalSettings, Workflow } from './workflows.dto.js'

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
      const read = readWorkflow(name, source, roles, await this.timeoutMayApprove(tx, org_id))
      if (!read.ok) throw new Problem('validation_failed', { errors: read.errors })
      const where = { org_id_name: { org_id, name } }
      const before = await tx.workflow.findUnique({ where })
      const document = json(read.value)
      const previous = before ? (before.document as Json) : json(SHIPPED_WORKFLOWS[name] ?? null)
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
        ...(previous !== null && { before: previous }),
        after: document,
      })
      return { name, version, ...read.value, updated_at }
    })
  }

  async settings(principal: Principal): Promise<ApprovalSettings> {
    const approve_on_timeout = await this.database.withOrg(principal, (tx) =>
      this.timeoutMayApprove(tx, principal.org_id),
    )
    return { approve_on_timeout }
  }

  /** Opts the organization in or out. Out stops approvals by time also for requests that wait already. */
  async putSettings(
    principal: Principal,
    { approve_on_timeout }: ApprovalSettings,
  ): Promise<ApprovalSettings> {
    const { org_id } = principal
    await this.database.withOrg(principal, async (tx) => {
      const before = await this.timeoutMayApprove(tx, org_id)
      if (before === approve_on_timeout) return
      await tx.approvalSettings.upsert({
        where: { org_id },
        create: { org_id, approve_on_timeout },
        update: { approve_on_timeout },
      })
      await this.ledger.append(tx, principal, {
        event: 'approval_settings.updated',
        change: { kind: 'approval_settings', id: org_id, op: 'updated' },
        before: { approve_on_timeout: before },
        after: { approve_on_timeout },
      })
    })
    return { approve_on_timeout }
  }

  /** Whether the organization lets mere waiting approve, where a workflow says so. */
  async timeoutMayApprove(tx: Tx, org_id: string): Promise<boolean> {
    const settings = await tx.approvalSettings.findUnique({ where: { org_id } })
    return settings?.approve_on_timeout ?? false
  }

  /** The names that rules of the organization's policies can use. */
  async names(principal: Principal): Promise<ReadonlySet<string>> {
    return new Set((await this.list(principal)).map(({ name }) => name))
  }

  /** The workflows of these names. One that is not there, which no stored policy names, is as strict as `critical`. */
  async named(
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

// The parser of what `put` alone has written: a workflow that was read without errors.
const rulesOf = (document: unknown): WorkflowRules => document as WorkflowRules
const json = (rules: WorkflowRules | null): Json => rules as unknown as Json

const missing = (name: string) =>
  new Problem('workflow_not_found', { detail: `No workflow ${JSON.stringify(name.slice(0, 64))} found` })
