'use client'

import { useQuery } from '@tanstack/react-query'
import Link from 'next/link'
import { useSearchParams } from 'next/navigation'
import { Badge, Fact, Facts, PageHead, Panel, type Tone } from '@/components/layout'
import { Problem } from '@/components/problem'
import { Empty, Loading } from '@/components/states'
import { ExactTime, Foreign, Id, Json, Who } from '@/components/text'
import { api, type Schemas } from '@/lib/api'
import { useAgent } from '@/lib/names'
import { Proof } from './proof'

type Entry = Schemas['LogEntry']

const TONES: Readonly<Record<string, Tone>> = { allowed: 'good', denied: 'bad', pending: 'warn' }
const LINK = 'font-mono text-xs break-all text-accent underline underline-offset-2'

/** One entry of the log: all that the API says about it, and its proof. */
export function EntryView() {
  const id = useSearchParams().get('id') ?? ''
  const { data, error, refetch } = useQuery({
    queryKey: ['logs', 'one', id],
    queryFn: ({ signal }) => api.get('/v1/logs', { query: { log_id: id }, signal }),
    enabled: id !== '',
  })
  if (id === '') return <Empty title="The address names no entry" />
  if (error) return <Problem error={error} onRetry={() => void refetch()} />
  if (!data) return <Loading what="the entry" rows={8} />
  const [entry] = data
  if (!entry)
    return (
      <Empty title="No such entry for you">
        <p>The log has no entry with the id {id}, or it is of a kind or team that you may not read.</p>
      </Empty>
    )
  return <Found entry={entry} />
}

function Found({ entry }: { entry: Entry }) {
  return (
    <>
      <PageHead title={entry.event} lead={<Id id={entry.log_id} />}>
        {entry.status !== null && <Badge tone={TONES[entry.status] ?? 'neutral'}>{entry.status}</Badge>}
        {entry.mismatch === true && <Badge tone="bad">disagrees with the decision</Badge>}
        {entry.redacted && <Badge>payload erased</Badge>}
      </PageHead>
      <div className="grid gap-4 lg:grid-cols-[minmax(0,1fr)_22rem] lg:items-start">
        <div className="flex min-w-0 flex-col gap-4">
          <Panel title="Entry">
            <EntryFacts entry={entry} />
          </Panel>
          <Values entry={entry} />
          {entry.type === 'decision' && <Reports entry={entry} />}
        </div>
        <Proof entry={entry} />
      </div>
    </>
  )
}

function EntryFacts({ entry }: { entry: Entry }) {
  const agent = useAgent(entry.agent_id)
  const actor = entry.actor as { kind?: string; id?: string; key_id?: string }
  return (
    <Facts>
      <Fact name="At">
        <ExactTime at={entry.timestamp} />
      </Fact>
      <Fact name="Said by">{entry.source === 'agent' ? 'the agent about itself' : 'AgentGuard'}</Fact>
      <Fact name="Caused by">
        {actor.kind} {actor.id !== undefined && <Who id={actor.id} />}
        {actor.key_id !== undefined && (
          <>
            {' '}
            with <Id id={actor.key_id} />
          </>
        )}
      </Fact>
      {entry.agent_id !== null && (
        <Fact name="Agent">
          {agent && <Foreign text={agent.name} />} <Id id={entry.agent_id} />
        </Fact>
      )}
      {entry.action !== null && (
        <Fact name="Action">
          <Foreign text={entry.action} mono />
        </Fact>
      )}
      {entry.action !== null && (
        <Fact name="Resource">
          {entry.resource === null ? (
            <span className="text-soft">none</span>
          ) : (
            <Foreign text={entry.resource} mono />
          )}
        </Fact>
      )}
      {entry.code !== null && (
        <Fact name="Code">
          <code className="font-mono text-xs">{entry.code}</code>
        </Fact>
      )}
      {entry.reason !== null && (
        <Fact name="Reason">
          <Foreign text={entry.reason} />
        </Fact>
      )}
      {entry.type === 'action' && (
        <Fact name="Agent says">{entry.allowed ? 'it was allowed' : 'it was not allowed'}</Fact>
      )}
      {entry.result !== null && <Fact name="Result">{entry.result}</Fact>}
      <Related entry={entry} />
      {entry.request_id !== null && (
        <Fact name="Request">
          <span className="font-mono text-xs">
            <Foreign text={entry.request_id} />
          </span>
        </Fact>
      )}
    </Facts>
  )
}

/** Where to go from here: the decision it belongs to, the approval it is about. */
function Related({ entry }: { entry: Entry }) {
  const approval = entry.type === 'approval' ? (entry.change as { id?: string } | null)?.id : undefined
  return (
    <>
      {entry.decision_id !== null && entry.decision_id !== entry.log_id && (
        <Fact name="Decision">
          <Link
            href={`/logs/view/?id=${encodeURIComponent(entry.decision_id)}`}
            prefetch={false}
            className={LINK}
          >
            {entry.decision_id}
          </Link>
        </Fact>
      )}
      {approval !== undefined && (
        <Fact name="Approval">
          <Link
            href={`/approvals/view/?id=${encodeURIComponent(approval)}`}
            prefetch={false}
            className={LINK}
          >
            {approval}
          </Link>
        </Fact>
      )}
    </>
  )
}

const VALUES = [
  ['arguments', 'Arguments'],
  ['context', 'Context'],
  ['metadata', 'Metadata'],
  ['change', 'What happened'],
  ['before', 'Before'],
  ['after', 'After'],
] as const

function Values({ entry }: { entry: Entry }) {
  const present = VALUES.filter(([name]) => entry[name] !== null)
  if (present.length === 0 && !entry.redacted) return null
  return (
    <Panel title="What it holds">
      <div className="flex flex-col gap-4">
        {present.map(([name, label]) => (
          <div key={name}>
            <h3 className="mb-1 text-[13px] font-medium">{label}</h3>
            <Json label={label} value={entry[name]} />
          </div>
        ))}
        {entry.redacted && (
          <p className="text-[13px] text-soft">
            The erasable part of this entry has been erased. Entry and proof remain.
          </p>
        )}
      </div>
    </Panel>
  )
}

/** What the agent says it did after this decision. */
function Reports({ entry }: { entry: Entry }) {
  const { data } = useQuery({
    queryKey: ['logs', 'reports', entry.log_id],
    queryFn: ({ signal }) =>
      api.get('/v1/logs', { query: { decision_id: entry.log_id, type: 'action' }, signal }),
  })
  if (!data || data.length === 0) return null
  return (
    <Panel title="What the agent reported">
      <ul className="flex flex-col gap-1.5 text-[13px]">
        {data.map((report) => (
          <li key={report.log_id} className="flex flex-wrap items-center gap-2">
            <Link href={`/logs/view/?id=${report.log_id}`} prefetch={false} className={LINK}>
              <ExactTime at={report.timestamp} />
            </Link>
            {report.result}
            {report.mismatch === true && <Badge tone="bad">disagrees with the decision</Badge>}
          </li>
        ))}
      </ul>
    </Panel>
  )
}
