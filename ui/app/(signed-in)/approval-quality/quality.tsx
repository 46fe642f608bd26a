'use client'

import { keepPreviousData, useQuery } from '@tanstack/react-query'
import { useSearchParams } from 'next/navigation'
import { type ReactNode } from 'react'
import { Figure, PageHead, Panel } from '@/components/layout'
import { Problem } from '@/components/problem'
import { Empty, Loading } from '@/components/states'
import { Cell, Table } from '@/components/table'
import { Tabs } from '@/components/tabs'
import { Who } from '@/components/text'
import { api, type Schemas } from '@/lib/api'
import { durationMs } from '@/lib/time'

const PERIODS = [7, 30, 90, 365] as const
const DEFAULT_DAYS = 30

const share = (part: number, whole: number): string =>
  whole === 0 ? 'none' : `${Math.round((100 * part) / whole)} %`
const time = (ms: number | null): string => (ms === null ? 'none' : durationMs(ms))
type Times = Omit<Schemas['ApproverTimes'], 'person'>
const decided = ({ approved, denied }: Times): number => approved + denied

/** Whether people really decide: how long they take, which way, and how often they hardly can have read. */
export function Quality() {
  const wanted = Number(useSearchParams().get('days'))
  const days = PERIODS.find((period) => period === wanted) ?? DEFAULT_DAYS
  const { data, error, refetch } = useQuery({
    queryKey: ['report', days],
    queryFn: ({ signal }) => api.get('/v1/reports/approvals', { query: { days }, signal }),
    placeholderData: keepPreviousData,
  })
  return (
    <>
      <PageHead
        title="Approval quality"
        lead="Whether people really decide, or only click. A decision within three seconds was hardly read."
      />
      <Tabs
        label="Period"
        tabs={PERIODS.map((period) => ({
          href: `/approval-quality/?days=${period}`,
          label: `${period} days`,
          current: period === days,
        }))}
      />
      {error && <Problem error={error} onRetry={() => void refetch()} />}
      {!data && !error && <Loading what="the report" rows={6} />}
      {data && <Report report={data} />}
    </>
  )
}

function Report({ report }: { report: Schemas['ApprovalReport'] }) {
  const all = decided(report)
  return (
    <div className="flex flex-col gap-4">
      <div className="grid grid-cols-2 gap-3 lg:grid-cols-4">
        <Figure name="Decided" value={all} note={`of ${report.requested} requests; ${report.pending} wait`} />
        <Figure
          name="Approved"
          value={share(report.approved, all)}
          note={`${report.approved} yes, ${report.denied} no`}
        />
        <Figure
          name="Time to decide (half took less)"
          value={time(report.p50_ms)}
          note={`19 of 20 less than ${time(report.p95_ms)}`}
        />
        <Figure
          name="Within three seconds"
          value={report.under_3_s}
          note={`${share(report.under_3_s, all)} of what was decided`}
        />
      </div>
      <p className="text-[13px] text-soft">
        {report.expired} expired, {report.cancelled} cancelled, {report.escalated} came to a higher level.
      </p>
      <Panel title="By approver" flush>
        <Rows
          label="By approver"
          first="Approver"
          rows={report.approvers.map((row) => [row.person, <Who key="who" id={row.person} />, row])}
        />
      </Panel>
      <Panel title="By workflow" flush>
        <Rows
          label="By workflow"
          first="Workflow"
          rows={report.workflows.map((row) => [row.workflow, row.workflow, row])}
        />
      </Panel>
    </div>
  )
}

interface RowsProps {
  label: string
  first: string
  rows: readonly (readonly [key: string, name: ReactNode, times: Times])[]
}

function Rows({ label, first, rows }: RowsProps) {
  if (rows.length === 0) return <Empty title="Nothing was decided in this time" />
  return (
    <Table
      label={label}
      head={[first, 'Approved', 'Denied', 'Rate', 'Half took less', '19 of 20 less', 'Within 3 s']}
    >
      {rows.map(([key, name, times]) => (
        <tr key={key} className="whitespace-nowrap tabular-nums">
          <Cell>{name}</Cell>
          <Cell>{times.approved}</Cell>
          <Cell>{times.denied}</Cell>
          <Cell>{share(times.approved, decided(times))}</Cell>
          <Cell>{time(times.p50_ms)}</Cell>
          <Cell>{time(times.p95_ms)}</Cell>
          <Cell className={times.under_3_s > 0 ? 'font-medium text-warn' : ''}>
            {times.under_3_s} ({share(times.under_3_s, decided(times))})
          </Cell>
        </tr>
      ))}
    </Table>
  )
}
