'use client'

import { keepPreviousData, useMutation, useQuery, useQueryClient } from '@tanstack/react-query'
import Link from 'next/link'
import { useState } from 'react'
import { Button } from '@/components/controls'
import { Badge, Panel, type Tone } from '@/components/layout'
import { Problem } from '@/components/problem'
import { Empty, Loading } from '@/components/states'
import { Cell, Paging, Table } from '@/components/table'
import { Foreign, Time } from '@/components/text'
import { useToast } from '@/components/toasts'
import { api, type Schemas } from '@/lib/api'
import { useSession } from '@/lib/session'

const LIMIT = 50
/** What one replay takes. */
const MOST = 100
/** Deliveries are not in the live stream: sending is what happens after an entry. */
const POLL_MS = 5_000

const STATUSES = ['pending', 'delivered', 'failed', 'cancelled'] as const
type Status = (typeof STATUSES)[number]
const TONES: Readonly<Record<string, Tone>> = { pending: 'warn', delivered: 'good', failed: 'bad' }

/** What was and will be sent, and sending it again. */
export function Deliveries({ webhook }: { webhook: Schemas['Webhook'] }) {
  const { may } = useSession()
  const [status, setStatus] = useState<Status | ''>('')
  const [offset, setOffset] = useState(0)
  const path = { webhook_id: webhook.webhook_id }
  const { data, error, refetch } = useQuery({
    queryKey: ['webhooks', 'deliveries', webhook.webhook_id, status, offset],
    queryFn: ({ signal }) =>
      api.list('/v1/webhooks/{webhook_id}/deliveries', {
        path,
        query: { limit: LIMIT, offset, ...(status !== '' && { status }) },
        signal,
      }),
    placeholderData: keepPreviousData,
    refetchInterval: POLL_MS,
  })
  const replay = useReplay(webhook.webhook_id)
  const mayReplay = may('webhooks:write')
  const failed = data?.items.filter((delivery) => delivery.status === 'failed').slice(0, MOST) ?? []
  return (
    <Panel
      title="Deliveries"
      flush
      actions={
        <div className="flex flex-wrap items-center gap-2">
          <select
            aria-label="Status"
            value={status}
            onChange={(event) => {
              setStatus(event.target.value as Status | '')
              setOffset(0)
            }}
            className="rounded-md border border-line-strong bg-surface px-2 py-1 text-[13px]"
          >
            <option value="">Any status</option>
            {STATUSES.map((one) => (
              <option key={one}>{one}</option>
            ))}
          </select>
          {mayReplay && failed.length > 0 && (
            <Button
              busy={replay.isPending}
              onClick={() => replay.mutate(failed.map(({ delivery_id }) => delivery_id))}
            >
              Send {failed.length === 1 ? 'the failed one' : `${failed.length} failed`} again
            </Button>
          )}
        </div>
      }
    >
      {(error ?? replay.error) && (
        <div className="p-4">
          <Problem error={error ?? replay.error} {...(error && { onRetry: () => void refetch() })} />
        </div>
      )}
      {!data && !error && <Loading what="deliveries" className="p-4" />}
      {data?.items.length === 0 && (
        <Empty title="There are none">Settled deliveries are kept for 30 days.</Empty>
      )}
      {data && data.items.length > 0 && (
        <Table label="Deliveries" head={['Event', 'Status', 'Attempts', 'Last answer', 'Entry', '']}>
          {data.items.map((delivery) => (
            <Row
              key={delivery.delivery_id}
              delivery={delivery}
              busy={replay.isPending && replay.variables.includes(delivery.delivery_id)}
              onReplay={mayReplay ? () => replay.mutate([delivery.delivery_id]) : undefined}
            />
          ))}
        </Table>
      )}
      {data && <Paging offset={offset} limit={LIMIT} total={data.total} onChange={setOffset} />}
    </Panel>
  )
}

function useReplay(webhook_id: string) {
  const client = useQueryClient()
  const say = useToast()
  return useMutation({
    mutationFn: (delivery_ids: string[]) =>
      api.post('/v1/webhooks/{webhook_id}/replay', { path: { webhook_id }, body: { delivery_ids } }),
    onSuccess: ({ queued }) => say(queued === 1 ? 'It is sent again.' : `${queued} are sent again.`),
    onSettled: () => client.invalidateQueries({ queryKey: ['webhooks'] }),
  })
}

interface RowProps {
  delivery: Schemas['WebhookDelivery']
  busy: boolean
  onReplay: (() => void) | undefined
}

function Row({ delivery, busy, onReplay }: RowProps) {
  const { event, status, attempts, response_status, latency_ms, error, log_id, log_index } = delivery
  return (
    <tr>
      <Cell className="font-mono text-xs">{event}</Cell>
      <Cell className="whitespace-nowrap">
        <Badge tone={TONES[status] ?? 'neutral'}>{status}</Badge>
        {delivery.next_attempt_at !== null && (
          <div className="mt-0.5 text-xs text-soft">
            next <Time at={delivery.next_attempt_at} />
          </div>
        )}
      </Cell>
      <Cell className="tabular-nums">
        {attempts}
        {delivery.last_attempt_at !== null && (
          <div className="text-xs text-soft">
            <Time at={delivery.last_attempt_at} />
          </div>
        )}
      </Cell>
      <Cell className="max-w-xs min-w-40">
        {response_status !== null && <span className="tabular-nums">{response_status}</span>}
        {latency_ms !== null && <span className="text-soft tabular-nums"> in {latency_ms} ms</span>}
        {error !== null && (
          <div className="text-xs text-bad">
            <Foreign text={error} />
          </div>
        )}
      </Cell>
      <Cell>
        <Link
          href={`/logs/view/?id=${encodeURIComponent(log_id)}`}
          prefetch={false}
          className="text-accent tabular-nums underline underline-offset-2"
          aria-label={`Entry ${log_index} of the log`}
        >
          {log_index}
        </Link>
      </Cell>
      <Cell className="text-right">
        {onReplay && status !== 'pending' && (
          <Button busy={busy} onClick={onReplay} aria-label={`Send ${event} of entry ${log_index} again`}>
            Send again
          </Button>
        )}
      </Cell>
    </tr>
  )
}
