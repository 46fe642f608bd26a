'use client'

import { useQuery } from '@tanstack/react-query'
import { OctagonX } from 'lucide-react'
import { useState } from 'react'
import { Button } from '@/components/controls'
import { PageHead, Panel } from '@/components/layout'
import { Problem } from '@/components/problem'
import { Empty, Loading } from '@/components/states'
import { Cell, Paging, Table } from '@/components/table'
import { Foreign, Time, Who } from '@/components/text'
import { api } from '@/lib/api'
import { isDrill, type KillSwitch, SCOPE_WORDS } from '@/lib/kill-switch'
import { useRefetchInterval } from '@/lib/live'
import { useSession } from '@/lib/session'
import { Activate } from './activate'
import { Deactivate } from './deactivate'
import { Drill } from './drill'
import { Target } from './target'

const LIMIT = 100

/** What is stopped, stopping more, letting it go on, and trying all of that. */
export function KillSwitches() {
  const { may } = useSession()
  const [stopping, setStopping] = useState(false)
  const [ending, setEnding] = useState<KillSwitch | null>(null)
  const [offset, setOffset] = useState(0)
  const refetchInterval = useRefetchInterval()
  const active = useQuery({
    queryKey: ['kill-switch', 'active'],
    queryFn: ({ signal }) => api.list('/v1/kill-switch', { query: { limit: 1000 }, signal }),
    refetchInterval,
  })
  const past = useQuery({
    queryKey: ['kill-switch', 'past', offset],
    queryFn: ({ signal }) =>
      api.list('/v1/kill-switch', { query: { include_ended: true, limit: LIMIT, offset }, signal }),
    refetchInterval,
  })
  const mayStop = may('kill-switch:write')
  return (
    <>
      <PageHead
        title="Kill switch"
        lead="While a switch is active every request in its scope is denied, before any rule is read. The log holds no allow after it."
      >
        {mayStop && (
          <Button kind="danger" onClick={() => setStopping(true)}>
            <OctagonX aria-hidden className="size-3.5" />
            Stop something…
          </Button>
        )}
      </PageHead>
      <div className="flex flex-col gap-4">
        <Panel title="Stopped now">
          {active.error && <Problem error={active.error} onRetry={() => void active.refetch()} />}
          {!active.data && !active.error && <Loading what="what is stopped" />}
          {active.data?.items.length === 0 && (
            <Empty title="Nothing is stopped">Agents are answered by their policies.</Empty>
          )}
          <ul className="flex flex-col gap-3">
            {active.data?.items.map((kill) => (
              <Active key={kill.kill_id} kill={kill} onEnd={mayStop ? () => setEnding(kill) : undefined} />
            ))}
          </ul>
        </Panel>
        <Drill past={past.data?.items.filter(isDrill) ?? []} />
        <Panel title="Ended" flush>
          {past.error && <Problem error={past.error} onRetry={() => void past.refetch()} />}
          <Ended kills={past.data?.items.filter((kill) => kill.state === 'ended' && !isDrill(kill))} />
          {past.data && <Paging offset={offset} limit={LIMIT} total={past.data.total} onChange={setOffset} />}
        </Panel>
      </div>
      <Activate open={stopping} onClose={() => setStopping(false)} />
      <Deactivate kill={ending} onClose={() => setEnding(null)} />
    </>
  )
}

function Active({ kill, onEnd }: { kill: KillSwitch; onEnd: (() => void) | undefined }) {
  const { me } = useSession()
  const mine = kill.release !== null && kill.release.by === me.member?.member_id
  return (
    <li className="flex flex-wrap items-start justify-between gap-x-6 gap-y-2 rounded-md border border-bad/30 bg-bad-wash px-4 py-3">
      <div className="min-w-0 text-[13px]">
        <p className="font-medium">
          {SCOPE_WORDS[kill.scope]} <Target kill={kill} />
        </p>
        <p className="break-words">
          <Foreign text={kill.reason} />
        </p>
        <p className="mt-0.5 text-xs text-soft">
          by <Who id={kill.activated_by} />, <Time at={kill.activated_at} />
          {isDrill(kill) && ', a drill: it ends by itself'}
        </p>
        {kill.release !== null && <Release release={kill.release} mine={mine} />}
      </div>
      {onEnd && !mine && (
        <Button onClick={onEnd}>
          {kill.release === null ? 'Let it go on…' : 'Confirm as the second person…'}
        </Button>
      )}
    </li>
  )
}

/** That one of two people has asked for it to end. */
function Release({ release, mine }: { release: NonNullable<KillSwitch['release']>; mine: boolean }) {
  return (
    <p className="mt-1.5 text-warn">
      {mine ? 'You' : <Who id={release.by} />} asked for it to end: “<Foreign text={release.reason} />
      ”. Somebody else must ask as well, <Time at={release.expires_at} /> at the latest.
    </p>
  )
}

function Ended({ kills }: { kills: readonly KillSwitch[] | undefined }) {
  if (!kills) return <Loading what="ended switches" className="p-4" />
  if (kills.length === 0) return <Empty title="No switch has ended yet" />
  return (
    <Table label="Ended switches" head={['Stopped', 'Why', 'Began', 'Ended', 'Why it may go on']}>
      {kills.map((kill) => (
        <tr key={kill.kill_id}>
          <Cell className="min-w-40">
            {SCOPE_WORDS[kill.scope]} <Target kill={kill} />
          </Cell>
          <Cell className="min-w-40 max-w-xs">
            <Foreign text={kill.reason} />
          </Cell>
          <Cell>
            <Time at={kill.activated_at} />
            <div className="text-xs text-soft">
              <Who id={kill.activated_by} />
            </div>
          </Cell>
          <Cell>
            {kill.deactivated_at !== null && <Time at={kill.deactivated_at} />}
            <div className="text-xs text-soft">
              {kill.deactivated_by !== null && <Who id={kill.deactivated_by} />}
            </div>
          </Cell>
          <Cell className="min-w-40 max-w-xs">
            {kill.deactivated_reason !== null && <Foreign text={kill.deactivated_reason} />}
          </Cell>
        </tr>
      ))}
    </Table>
  )
}
