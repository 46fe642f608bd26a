import { Injectable } from '@nestjs/common'
import {
  CLASSES_OF_RISK,
  classOf,
  type RiskChoice,
  type RiskWorkflows,
  SHIPPED_RISK_WORKFLOWS,
} from '../core/approvals/risk-workflows.js'
import { SHIPPED_WORKFLOWS } from '../core/approvals/workflow.js'
import { canonicalize, type Json } from '../core/ledger/canonical.js'
import { type FieldError, Problem } from '../core/problems.js'
import type { RiskLevel } from '../core/risk.js'
import { LedgerService } from '../ledger/ledger.service.js'
import type { Principal } from '../platform/access/principal.js'
import { Database, type Tx } from '../platform/database/database.service.js'
import type { ApprovalSettings, PutApprovalSettings } from './workflows.dto.js'
import { lockSettings, selectAsking } from './workflows.queries.js'

/** What every organization has until it chooses. */
const MAX_WAITING_PER_AGENT = 100
const MAX_WAITING = 10_000

/** How many requests of one agent may wait at once, and how many of all. */
interface Limits {
  readonly max_waiting_per_agent: number
  readonly max_waiting: number
}

export interface AskingTerms extends Limits {
  readonly risk: RiskChoice
}

/** What an organization has settled about asking people, apart from its workflows. */
@Injectable()
export class ApprovalSettingsService {
  constructor(
    private readonly database: Database,
    private readonly ledger: LedgerService,
  ) {}

  get(principal: Principal): Promise<ApprovalSettings> {
    return this.database.withOrg(principal, (tx) => this.read(tx, principal.org_id))
  }

  /**
   * Changes what is given. That time may not approve any more concerns what waits already, too; everything else what is
   * asked for from now on.
   * @throws Problem `validation_failed` for a workflow that the organization does not have
   */
  async put(principal: Principal, changes: PutApprovalSettings): Promise<ApprovalSettings> {
    const { org_id } = principal
    return this.database.withOrg(principal, async (tx) => {
      await lockSettings(tx, org_id)
      await this.assertThere(tx, org_id, changes.risk_workflows ?? {})
      const before = await this.read(tx, org_id)
      const after: ApprovalSettings = {
        approve_on_timeout: changes.approve_on_timeout ?? before.approve_on_timeout,
        max_waiting_per_agent: changes.max_waiting_per_agent ?? before.max_waiting_per_agent,
        max_waiting: changes.max_waiting ?? before.max_waiting,
        risk_workflows: { ...before.risk_workflows, ...given(changes.risk_workflows ?? {}) },
      }
      if (canonicalize(json(before)) === canonicalize(json(after))) return before
      const data = { ...after, risk_workflows: { ...after.risk_workflows } }
      await tx.approvalSettings.upsert({ where: { org_id }, create: { org_id, ...data }, update: data })
      await this.ledger.append(tx, principal, {
        event: 'approval_settings.updated',
        change: { kind: 'approval_settings', id: org_id, op: 'updated' },
        // Whoever is being asked by what was settled before is asked again: nothing is asked by it after this entry.
        raises: 'organization',
        before: json(before),
        after: json(after),
      })
      return after
    })
  }

  /** Whether the organization lets mere waiting approve, where a workflow says so. */
  async timeoutMayApprove(tx: Tx, org_id: string): Promise<boolean> {
    const settings = await tx.approvalSettings.findUnique({ where: { org_id } })
    return settings?.approve_on_timeout ?? false
  }

  /** What is settled about asking people for an agent, as of this transaction. */
  async termsOf(tx: Tx, org_id: string, agent_id: string): Promise<AskingTerms> {
    const row = await selectAsking(tx, org_id, agent_id)
    // The parser of what the database holds to the known levels.
    const level = (row?.risk_level ?? null) as RiskLevel | null
    return {
      risk: { level, workflow: workflowsOf(row?.risk_workflows)[classOf(level)] },
      ...limitsOf(row),
    }
  }

  private async read(tx: Tx, org_id: string): Promise<ApprovalSettings> {
    const row = await tx.approvalSettings.findUnique({ where: { org_id } })
    return {
      approve_on_timeout: row?.approve_on_timeout ?? false,
      ...limitsOf(row),
      risk_workflows: workflowsOf(row?.risk_workflows),
    }
  }

  private async assertThere(tx: Tx, org_id: string, named: Partial<RiskWorkflows>): Promise<void> {
    const own = await tx.workflow.findMany({ where: { org_id }, select: { name: true } })
    const there = new Set([...Object.keys(SHIPPED_WORKFLOWS), ...own.map(({ name }) => name)])
    const errors = CLASSES_OF_RISK.flatMap<FieldError>((risk) => {
      const name = named[risk] ?? null
      if (name === null || there.has(name)) return []
      return [{ path: `risk_workflows.${risk}`, message: 'is no workflow of this organization' }]
    })
    if (errors.length > 0) throw new Problem('validation_failed', { errors })
  }
}

const limitsOf = (row: { [limit in keyof Limits]: number | null } | null): Limits => ({
  max_waiting_per_agent: row?.max_waiting_per_agent ?? MAX_WAITING_PER_AGENT,
  max_waiting: row?.max_waiting ?? MAX_WAITING,
})

// The parser of what `put` alone has written; what was shipped later than it was written is as shipped.
const workflowsOf = (stored: unknown): RiskWorkflows => ({
  ...SHIPPED_RISK_WORKFLOWS,
  ...(stored as Partial<RiskWorkflows> | null | undefined),
})

const given = (changes: Partial<RiskWorkflows>): Partial<RiskWorkflows> =>
  Object.fromEntries(Object.entries(changes).filter(([, value]) => value !== undefined))

const json = (settings: ApprovalSettings): { [member: string]: Json } =>
  settings as unknown as { [member: string]: Json }
