import { Injectable } from '@nestjs/common'
import { type Principal, teamOf } from '../platform/access/principal.js'
import { Clock } from '../platform/clock/clock.js'
import { Database } from '../platform/database/database.service.js'
import type { ApprovalReport, DecisionTimes } from './report.dto.js'
import { selectTotals, selectVotes, selectWorkflows, type TimesRow } from './report.queries.js'

const DAY_MS = 86_400_000
const DEFAULT_DAYS = 30

/** How well people decide: how long they take, which way, and how often too quickly to have read. */
@Injectable()
export class ApprovalReportService {
  constructor(
    private readonly database: Database,
    private readonly clock: Clock,
  ) {}

  /** Of the caller's team alone, if they are held to one. */
  async report(principal: Principal, days = DEFAULT_DAYS): Promise<ApprovalReport> {
    const since = new Date(this.clock.now() - days * DAY_MS)
    const filter = { org_id: principal.org_id, since, team: teamOf(principal) }
    return this.database.withOrg(principal, async (tx) => {
      const totals = await selectTotals(tx, filter)
      const votes = await selectVotes(tx, filter)
      const workflows = await selectWorkflows(tx, filter)
      const { requested, pending, expired, cancelled, escalated } = totals
      return {
        since,
        requested,
        pending,
        expired,
        cancelled,
        escalated,
        ...timesOf(totals),
        approvers: votes.map((row) => ({ person: row.name, ...timesOf(row) })),
        workflows: workflows.map((row) => ({ workflow: row.name, ...timesOf(row) })),
      }
    })
  }
}

function timesOf({
  approved,
  denied,
  p50_ms,
  p95_ms,
  under_3_s,
}: Omit<TimesRow, 'name' | 'kind'>): DecisionTimes {
  const all = approved + denied
  return {
    approved,
    denied,
    approval_rate: all === 0 ? null : approved / all,
    p50_ms: p50_ms === null ? null : Math.round(p50_ms),
    p95_ms: p95_ms === null ? null : Math.round(p95_ms),
    under_3_s,
  }
}
