'use client'

import { keepPreviousData, useQuery } from '@tanstack/react-query'
import Link from 'next/link'
import { useRouter, useSearchParams } from 'next/navigation'
import { type FormEvent } from 'react'
import { Button } from '@/components/controls'
import { Badge, PageHead, Panel } from '@/components/layout'
import { Problem } from '@/components/problem'
import { Empty, Loading } from '@/components/states'
import { Cell, Paging, Table } from '@/components/table'
import { Tabs } from '@/components/tabs'
import { Foreign, Id, Time, Who } from '@/components/text'
import { api, type Schemas } from '@/lib/api'
import { type ApprovalStatus, approvesOf, STATUS_TONES, STATUS_WORDS } from '@/lib/approvals'
import { fieldOf } from '@/lib/form'
import { useRefetchInterval } from '@/lib/live'
import { useAgent } from '@/lib/names'
import { duration, useNow } from '@/lib/time'

const LIMIT = 50
const STATUSES: readonly ApprovalStatus[] = ['pending', 'approved', 'denied', 'expired', 'cancelled']

type View = ApprovalStatus | 'all'
const viewOf = (text: string | null): View =>
  text === 'all' ? 'all' : (STATUSES.find((status) => status === text) ?? 'pending')

const placeOf = (view: View, agent_id: string, offset = 0): string => {
  const query = new URLSearchParams({ status: view })
  if (agent_id !== '') query.set('agent', agent_id)
  if (offset > 0) query.set('offset', String(offset))
  return `/approvals/?${query}`
}

/** What waits for people, and what they have decided. What is looked at stands in the address. */
export function Approvals() {
  const router = useRouter()
  const search = useSearchParams()
  const view = viewOf(search.get('status'))
  const agent_id = search.get('agent') ?? ''
  const offset = Math.max(0, Number.parseInt(search.get('offset') ?? '0', 10) || 0)
  const { data, error, refetch } = useQuery({
    queryKey: ['approvals', 'list', view, agent_id, offset],
    queryFn: ({ signal }) =>
      api.get('/v1/approvals', {
        query: {
          limit: LIMIT,
          offset,
          ...(view !== 'all' && { status: view }),
          ...(agent_id !== '' && { agent_id }),
        },
        signal,
      }),
    placeholderData: keepPreviousData,
    refetchInterval: useRefetchInterval(),
  })
  const tabs = [...STATUSES, 'all' as const].map((one) => ({
    href: placeOf(one, agent_id),
    label: one === 'all' ? 'All' : STATUS_WORDS[one],
    current: one === view,
    count: one === 'pending' ? data?.pending_count : undefined,
  }))
  return (
    <>
      <PageHead title="Approvals" lead="What agents may do only when people have said so.">
        <AgentFilter key={agent_id} agent_id={agent_id} onChange={(id) => router.push(placeOf(view, id))} />
      </PageHead>
      <Tabs label="Approvals by status" tabs={tabs} />
      {error && <Problem error={error} onRetry={() => void refetch()} />}
      <Panel flush className={error ? 'mt-4' : ''}>
        {!data && !error && <Loading what="approvals" className="p-4" />}
        {data?.items.length === 0 && <Nothing view={view} />}
        {data && data.items.length > 0 && (
          <Table
            label="Approvals"
            head={['Request', 'Agent', 'Approvals', view === 'pending' ? 'Time left' : 'Outcome', 'Asked']}
          >
            {data.items.map((approval) => (
              <Row key={approval.approval_id} approval={approval} />
            ))}
          </Table>
        )}
        {data && (
          <Paging
            offset={offset}
            limit={LIMIT}
            total={data.total}
            onChange={(to) => router.push(placeOf(view, agent_id, to))}
          />
        )}
      </Panel>
    </>
  )
}

function AgentFilter({ agent_id, onChange }: { agent_id: string; onChange: (agent_id: string) => void }) {
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault()
    onChange(fieldOf(new FormData(event.currentTarget), 'agent'))
  }
  return (
    <form onSubmit={submit} role="search" className="flex items-center gap-2">
      <input
        name="agent"
        aria-label="Agent id"
        placeholder="Agent id"
        defaultValue={agent_id}
        className="w-44 rounded-md border border-line-strong bg-surface px-2.5 py-1.5 font-mono text-xs"
      />
      <Button type="submit">Filter</Button>
      {agent_id !== '' && (
        <Button kind="quiet" onClick={() => onChange('')}>
          Clear
        </Button>
      )}
    </form>
  )
}

function Row({ approval }: { approval: Schemas['Approval'] }) {
  const { approval_id, action, resource, status, agent_id, environment, risk_level, created_at } = approval
  const agent = useAgent(agent_id)
  return (
    <tr className="hover:bg-sunken">
      <Cell className="min-w-44 max-w-md">
        <Link
          href={`/approvals/view/?id=${encodeURIComponent(approval_id)}`}
          prefetch={false}
          className="font-medium hover:underline"
        >
          <Foreign text={action} mono />
        </Link>
        <div className="line-clamp-2 text-soft">
          {resource === null ? 'no resource' : <Foreign text={resource} mono />}
        </div>
      </Cell>
      <Cell>
        {agent ? <Foreign text={agent.name} /> : <Id id={agent_id} />}
        <div className="text-xs text-soft">
          {environment}
          {risk_level !== null && `, ${risk_level} risk`}
        </div>
      </Cell>
      <Cell className="whitespace-nowrap tabular-nums">
        {approvesOf(approval).length} of {approval.approvals_needed}
        {approval.levels > 1 && (
          <div className="text-xs text-soft">
            level {approval.level} of {approval.levels}
          </div>
        )}
      </Cell>
      <Cell className="whitespace-nowrap">
        {status === 'pending' ? <Left until={approval.expires_at} /> : <Outcome approval={approval} />}
      </Cell>
      <Cell className="text-soft">
        <Time at={created_at} />
      </Cell>
    </tr>
  )
}

function Left({ until }: { until: string }) {
  const seconds = (Date.parse(until) - useNow()) / 1000
  return (
    <span className={`tabular-nums ${seconds < 300 ? 'text-bad' : ''}`}>
      {seconds <= 0 ? 'over' : duration(seconds)}
    </span>
  )
}

function Outcome({ approval: { status, decision_by, grant } }: { approval: Schemas['Approval'] }) {
  return (
    <>
      <Badge tone={STATUS_TONES[status]}>{STATUS_WORDS[status]}</Badge>
      {grant?.scope && (
        <span className="ml-1.5">
          <Badge tone="warn">wider grant</Badge>
        </span>
      )}
      {decision_by !== null && (
        <div className="mt-0.5 max-w-40 truncate text-xs text-soft">
          by <Who id={decision_by} />
        </div>
      )}
    </>
  )
}

function Nothing({ view }: { view: View }) {
  if (view === 'pending')
    return (
      <Empty title="Nothing waits">When a rule asks for approval, the request appears here at once.</Empty>
    )
  return (
    <Empty title="There are none">
      {view !== 'all' && `No request was ${STATUS_WORDS[view].toLowerCase()}.`}
    </Empty>
  )
}
