'use client'

import { useQuery } from '@tanstack/react-query'
import Link from 'next/link'
import { useSearchParams } from 'next/navigation'
import { Badge, Fact, Facts, PageHead, Panel } from '@/components/layout'
import { Problem } from '@/components/problem'
import { Empty, Loading } from '@/components/states'
import { ExactTime, Foreign, Id, Json, Time, visible, Who } from '@/components/text'
import { api, type Schemas } from '@/lib/api'
import { STATUS_TONES, STATUS_WORDS } from '@/lib/approvals'
import { useRefetchInterval } from '@/lib/live'
import { useAgent } from '@/lib/names'
import { AskingRules } from './asking-rules'
import { Decide } from './decide'
import { Grant } from './grant'
import { Rules } from './rules'

type Request = Schemas['ApprovalRequest']

/** One request: what exactly is asked, who decides by which rules, and what has happened. */
export function ApprovalView() {
  const id = useSearchParams().get('id') ?? ''
  const refetchInterval = useRefetchInterval()
  const path = { approval_id: id }
  const { data, error, refetch } = useQuery({
    queryKey: ['approvals', 'one', id],
    queryFn: ({ signal }) => api.get('/v1/approvals/{approval_id}', { path, signal }),
    enabled: id !== '',
    refetchInterval,
  })
  const history = useQuery({
    queryKey: ['approvals', 'history', id],
    queryFn: ({ signal }) => api.get('/v1/approvals/{approval_id}/history', { path, signal }),
    enabled: id !== '',
    refetchInterval,
  })
  if (id === '') return <Empty title="The address names no approval" />
  if (error) return <Problem error={error} onRetry={() => void refetch()} />
  if (!data) return <Loading what="the request" rows={8} />
  return (
    <>
      <Link href="/approvals/" prefetch={false} className="text-[13px] text-soft hover:text-ink">
        Approvals
      </Link>
      <PageHead title={visible(data.action)} lead={<Id id={data.approval_id} />}>
        {data.grant?.scope && <Badge tone="warn">Wider grant</Badge>}
        <Badge tone={STATUS_TONES[data.status]}>{STATUS_WORDS[data.status]}</Badge>
      </PageHead>
      <div className="grid gap-4 lg:grid-cols-[minmax(0,1fr)_22rem] lg:items-start">
        <div className="order-2 flex min-w-0 flex-col gap-4 lg:order-1">
          <Asked request={data} />
          <AskingRules request={data} />
          <Panel title="History">
            {history.error && <Problem error={history.error} onRetry={() => void history.refetch()} />}
            {history.data ? (
              <History events={history.data} />
            ) : (
              !history.error && <Loading what="the history" />
            )}
          </Panel>
        </div>
        <div className="order-1 flex min-w-0 flex-col gap-4 lg:order-2">
          {data.status === 'pending' && <Decide key={data.approval_id} request={data} />}
          <Grant request={data} />
          <Rules request={data} />
        </div>
      </div>
    </>
  )
}

/** The exact request. Everything in it was chosen by the agent, and is shown as text. */
function Asked({ request }: { request: Request }) {
  const agent = useAgent(request.agent_id)
  const { action, resource, reason, decision_id, redacted } = request
  return (
    <Panel title="The exact request">
      <Facts>
        <Fact name="Action">
          <Foreign text={action} mono />
        </Fact>
        <Fact name="Resource">
          {resource === null ? <span className="text-soft">none</span> : <Foreign text={resource} mono />}
        </Fact>
        <Fact name="Agent">
          {agent && (
            <>
              <Foreign text={agent.name} />{' '}
            </>
          )}
          <Id id={request.agent_id} />
        </Fact>
        <Fact name="Team">
          <Foreign text={request.team} />
        </Fact>
        <Fact name="Environment">{request.environment}</Fact>
        <Fact name="Risk">{request.risk_level ?? 'not rated'}</Fact>
        <Fact name="Asked">
          <ExactTime at={request.created_at} />{' '}
          <span className="text-soft">
            (<Time at={request.created_at} />)
          </span>
        </Fact>
        <Fact name="Why people decide">
          <Foreign text={reason} />
        </Fact>
        <Fact name="Decision">
          <Link
            href={`/logs/view/?id=${encodeURIComponent(decision_id)}`}
            prefetch={false}
            className="font-mono text-xs break-all text-accent underline underline-offset-2"
          >
            {decision_id}
          </Link>
        </Fact>
      </Facts>
      <div className="mt-4 flex flex-col gap-4">
        {redacted ? (
          <p className="text-[13px] text-soft">
            Arguments and context have been erased, so nobody can approve this any more.
          </p>
        ) : (
          <>
            <Sent name="Arguments" value={request.arguments} />
            <Sent name="Context" value={request.context} />
          </>
        )}
      </div>
    </Panel>
  )
}

function Sent({ name, value }: { name: string; value: unknown }) {
  return (
    <div>
      <h3 className="mb-1 text-[13px] font-medium">{name}</h3>
      {value === null ? (
        <p className="text-[13px] text-soft">None were sent.</p>
      ) : (
        <Json label={name} value={value} />
      )}
    </div>
  )
}

const EVENT_WORDS: Readonly<Record<string, string>> = {
  requested: 'asked',
  escalated: 'the next level began',
  approved: 'approved',
  denied: 'denied',
  expired: 'expired',
  cancelled: 'cancelled',
  revoked: 'took back what was left',
  used: 'used it',
  refused: 'was refused its use',
}

function History({ events }: { events: readonly Schemas['ApprovalHistoryEvent'][] }) {
  return (
    <ol className="flex flex-col gap-3">
      {events.map((event, i) => (
        <li key={i} className="grid grid-cols-[auto_minmax(0,1fr)] gap-x-3 text-[13px]">
          <span aria-hidden className={`mt-1.5 size-2 rounded-full ${toneOf(event)}`} />
          <div>
            <div>
              <Doer event={event} />: <span className="font-medium">{wordsOf(event)}</span>
              {event.event === 'escalated' && ` (level ${event.level})`}
              <span className="ml-2 text-xs text-soft">
                <ExactTime at={event.at} />
              </span>
            </div>
            {event.reason !== null && (
              <div className="mt-0.5 text-soft">
                <Foreign text={event.reason} />
              </div>
            )}
            {event.decision_id !== null && (event.event === 'used' || event.event === 'refused') && (
              <Link
                href={`/logs/view/?id=${encodeURIComponent(event.decision_id)}`}
                prefetch={false}
                className="text-xs text-accent underline underline-offset-2"
              >
                the decision
              </Link>
            )}
          </div>
        </li>
      ))}
    </ol>
  )
}

function Doer({ event }: { event: Schemas['ApprovalHistoryEvent'] }) {
  if (event.actor_kind === 'system') return <>AgentGuard itself</>
  if (event.actor_kind === 'agent') return <>The agent</>
  return <Who id={event.person ?? event.actor} />
}

function wordsOf({ event, vote }: Schemas['ApprovalHistoryEvent']): string {
  if (event === 'voted') return vote === 'approve' ? 'voted to approve' : 'voted to deny'
  return EVENT_WORDS[event] ?? event
}

function toneOf({ event, vote }: Schemas['ApprovalHistoryEvent']): string {
  if (event === 'approved' || vote === 'approve') return 'bg-good'
  if (event === 'denied' || event === 'refused' || event === 'revoked' || vote === 'deny') return 'bg-bad'
  return 'bg-line-strong'
}
