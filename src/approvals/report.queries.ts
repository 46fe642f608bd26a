import { Prisma } from '../generated/prisma/client.js'
import type { Tx } from '../platform/database/database.service.js'

/** What is counted: of one organization, since an instant, of one team's agents alone where `team` is given. */
export interface ReportFilter {
  readonly org_id: string
  readonly since: Date
  readonly team: string | null
}

export interface TimesRow {
  readonly name: string
  readonly kind: string | null
  readonly approved: number
  readonly denied: number
  readonly p50_ms: number | null
  readonly p95_ms: number | null
  readonly under_3_s: number
}

const within = ({ org_id, since, team }: ReportFilter) =>
  Prisma.sql`a.org_id = ${org_id} AND a.created_at >= ${since}${
    team === null
      ? Prisma.empty
      : Prisma.sql` AND EXISTS (SELECT FROM agents g WHERE g.org_id = a.org_id AND g.agent_id = a.agent_id AND g.owner_team = ${team})`
  }`

/** How long votes took, counted from the request, by who stands behind them. */
export function selectVotes(tx: Tx, filter: ReportFilter): Promise<TimesRow[]> {
  return tx.$queryRaw<TimesRow[]>`
    SELECT v.person AS name, max(v.actor_kind) AS kind,
           count(*) FILTER (WHERE v.vote = 'approve')::integer AS approved,
           count(*) FILTER (WHERE v.vote = 'deny')::integer AS denied,
           percentile_cont(0.5) WITHIN GROUP (ORDER BY v.took)::float8 AS p50_ms,
           percentile_cont(0.95) WITHIN GROUP (ORDER BY v.took)::float8 AS p95_ms,
           count(*) FILTER (WHERE v.took < 3000)::integer AS under_3_s
    FROM (
      SELECT e.person, e.actor_kind, e.vote, (extract(epoch FROM e.at - a.created_at) * 1000)::float8 AS took
      FROM approval_events e JOIN approvals a USING (org_id, approval_id)
      WHERE e.event = 'voted' AND ${within(filter)}
    ) v GROUP BY v.person ORDER BY count(*) DESC, v.person`
}

/** How long people took to decide, by the strictest workflow of a request. */
export function selectWorkflows(tx: Tx, filter: ReportFilter): Promise<TimesRow[]> {
  return tx.$queryRaw<TimesRow[]>`
    SELECT d.name, NULL AS kind,
           count(*) FILTER (WHERE d.status = 'approved')::integer AS approved,
           count(*) FILTER (WHERE d.status = 'denied')::integer AS denied,
           percentile_cont(0.5) WITHIN GROUP (ORDER BY d.took)::float8 AS p50_ms,
           percentile_cont(0.95) WITHIN GROUP (ORDER BY d.took)::float8 AS p95_ms,
           count(*) FILTER (WHERE d.took < 3000)::integer AS under_3_s
    FROM (${decided(filter)}) d GROUP BY d.name ORDER BY d.name`
}

export interface TotalsRow extends Omit<TimesRow, 'name' | 'kind'> {
  readonly requested: number
  readonly pending: number
  readonly expired: number
  readonly cancelled: number
  readonly escalated: number
}

export async function selectTotals(tx: Tx, filter: ReportFilter): Promise<TotalsRow> {
  const rows = await tx.$queryRaw<TotalsRow[]>`
    SELECT count(*)::integer AS requested,
           count(*) FILTER (WHERE t.status = 'pending')::integer AS pending,
           count(*) FILTER (WHERE t.status = 'expired')::integer AS expired,
           count(*) FILTER (WHERE t.status = 'cancelled')::integer AS cancelled,
           count(*) FILTER (WHERE t.level > 0)::integer AS escalated,
           count(*) FILTER (WHERE t.by_people AND t.status = 'approved')::integer AS approved,
           count(*) FILTER (WHERE t.by_people AND t.status = 'denied')::integer AS denied,
           percentile_cont(0.5) WITHIN GROUP (ORDER BY t.took) FILTER (WHERE t.by_people)::float8 AS p50_ms,
           percentile_cont(0.95) WITHIN GROUP (ORDER BY t.took) FILTER (WHERE t.by_people)::float8 AS p95_ms,
           count(*) FILTER (WHERE t.by_people AND t.took < 3000)::integer AS under_3_s
    FROM (
      SELECT a.status, a.level, (extract(epoch FROM a.decided_at - a.created_at) * 1000)::float8 AS took,
             a.status IN ('approved', 'denied') AND a.decided_by_kind <> 'system' AS by_people
      FROM approvals a WHERE ${within(filter)}
    ) t`
  const [row] = rows
  if (!row) throw new Error('the report has no totals')
  return row
}

/** What people decided; what time decided says nothing about them. */
const decided = (filter: ReportFilter) => Prisma.sql`
  SELECT a.workflow -> 'names' ->> 0 AS name, a.status,
         (extract(epoch FROM a.decided_at - a.created_at) * 1000)::float8 AS took
  FROM approvals a
  WHERE a.status IN ('approved', 'denied') AND a.decided_by_kind <> 'system' AND ${within(filter)}`
