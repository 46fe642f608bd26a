'use client'

import { keepPreviousData, useQuery } from '@tanstack/react-query'
import Link from 'next/link'
import { useState } from 'react'
import { Badge, PageHead, Panel } from '@/components/layout'
import { Problem } from '@/components/problem'
import { Empty, Loading } from '@/components/states'
import { Cell, Paging, Table } from '@/components/table'
import { Foreign, Time } from '@/components/text'
import { api } from '@/lib/api'
import { stateOf } from '@/lib/webhooks'

const LIMIT = 50

/** Where events are sent, and whether they arrive. */
export function Webhooks() {
  const [offset, setOffset] = useState(0)
  const { data, error, refetch } = useQuery({
    queryKey: ['webhooks', 'list', offset],
    queryFn: ({ signal }) => api.list('/v1/webhooks', { query: { limit: LIMIT, offset }, signal }),
    placeholderData: keepPreviousData,
  })
  return (
    <>
      <PageHead
        title="Webhooks"
        lead="Where entries of the log are sent as they are committed, and whether they arrive."
      />
      {error && <Problem error={error} onRetry={() => void refetch()} />}
      <Panel flush className={error ? 'mt-4' : ''}>
        {!data && !error && <Loading what="webhooks" className="p-4" />}
        {data?.items.length === 0 && (
          <Empty title="Nothing is sent anywhere">
            Make a webhook with <code className="font-mono text-xs">POST /webhooks</code>; its deliveries
            appear here.
          </Empty>
        )}
        {data && data.items.length > 0 && (
          <Table label="Webhooks" head={['Name', 'Sent to', 'Events', 'State']}>
            {data.items.map((webhook) => {
              const { word, tone } = stateOf(webhook)
              return (
                <tr key={webhook.webhook_id} className="hover:bg-sunken">
                  <Cell className="min-w-36">
                    <Link
                      href={`/webhooks/view/?id=${encodeURIComponent(webhook.webhook_id)}`}
                      prefetch={false}
                      className="font-medium hover:underline"
                    >
                      <Foreign text={webhook.name} />
                    </Link>
                  </Cell>
                  <Cell className="max-w-xs min-w-48">
                    <Foreign text={webhook.url} mono />
                  </Cell>
                  <Cell className="max-w-xs font-mono text-xs">{webhook.events.join(', ')}</Cell>
                  <Cell className="whitespace-nowrap">
                    <Badge tone={tone}>{word}</Badge>
                    {webhook.failing_since !== null && (
                      <div className="mt-0.5 text-xs text-soft">
                        since <Time at={webhook.failing_since} />
                      </div>
                    )}
                  </Cell>
                </tr>
              )
            })}
          </Table>
        )}
        {data && <Paging offset={offset} limit={LIMIT} total={data.total} onChange={setOffset} />}
      </Panel>
    </>
  )
}
