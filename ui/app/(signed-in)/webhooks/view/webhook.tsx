'use client'

import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query'
import Link from 'next/link'
import { useSearchParams } from 'next/navigation'
import { Button } from '@/components/controls'
import { Badge, Fact, Facts, PageHead, Panel } from '@/components/layout'
import { Problem } from '@/components/problem'
import { Empty, Loading } from '@/components/states'
import { ExactTime, Foreign, Id, Time, visible, Who } from '@/components/text'
import { useToast } from '@/components/toasts'
import { api, type Schemas } from '@/lib/api'
import { useSession } from '@/lib/session'
import { stateOf } from '@/lib/webhooks'
import { Deliveries } from './deliveries'

/** One webhook: what it is sent, and how that went. */
export function WebhookView() {
  const id = useSearchParams().get('id') ?? ''
  const { data, error, refetch } = useQuery({
    queryKey: ['webhooks', 'one', id],
    queryFn: ({ signal }) => api.get('/v1/webhooks/{webhook_id}', { path: { webhook_id: id }, signal }),
    enabled: id !== '',
  })
  if (id === '') return <Empty title="The address names no webhook" />
  if (error) return <Problem error={error} onRetry={() => void refetch()} />
  if (!data) return <Loading what="the webhook" rows={6} />
  const { word, tone } = stateOf(data)
  return (
    <>
      <Link href="/webhooks/" prefetch={false} className="text-[13px] text-soft hover:text-ink">
        Webhooks
      </Link>
      <PageHead title={visible(data.name)} lead={<Id id={data.webhook_id} />}>
        <Badge tone={tone}>{word}</Badge>
        <Test webhook={data} />
      </PageHead>
      <div className="flex flex-col gap-4">
        <Panel title="What is sent">
          <Facts>
            <Fact name="To">
              <Foreign text={data.url} mono />
            </Fact>
            <Fact name="Events">
              <span className="font-mono text-xs">{data.events.join(', ')}</span>
            </Fact>
            <Fact name="About">
              {data.team === null ? (
                'the whole organization'
              ) : (
                <>
                  agents of <Foreign text={data.team} />
                </>
              )}
            </Fact>
            <Fact name="Form">
              {data.mode}, {data.ordered ? 'one at a time in the order of the log' : 'in any order'},{' '}
              {data.include_payload ? 'with the erasable part' : 'without the erasable part'}
            </Fact>
            <Fact name="Made">
              <ExactTime at={data.created_at} /> by <Who id={data.created_by} />
            </Fact>
            {data.failing_since !== null && (
              <Fact name="Failing">
                every attempt since <Time at={data.failing_since} />
              </Fact>
            )}
          </Facts>
        </Panel>
        <Deliveries webhook={data} />
      </div>
    </>
  )
}

function Test({ webhook }: { webhook: Schemas['Webhook'] }) {
  const { may } = useSession()
  const client = useQueryClient()
  const say = useToast()
  const test = useMutation({
    mutationFn: () =>
      api.post('/v1/webhooks/{webhook_id}/test', { path: { webhook_id: webhook.webhook_id } }),
    onSuccess: () => say('A test event is on its way.'),
    onSettled: () => client.invalidateQueries({ queryKey: ['webhooks'] }),
  })
  if (!may('webhooks:write')) return null
  return (
    <>
      <Button busy={test.isPending} disabled={!webhook.is_enabled} onClick={() => test.mutate()}>
        Send a test event
      </Button>
      {test.error !== null && <Problem error={test.error} />}
    </>
  )
}
