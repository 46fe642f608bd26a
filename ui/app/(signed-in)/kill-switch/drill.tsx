'use client'

import { useMutation, useQueries, useQueryClient } from '@tanstack/react-query'
import { useMemo } from 'react'
import { Button } from '@/components/controls'
import { Badge, Figure, Panel } from '@/components/layout'
import { Problem } from '@/components/problem'
import { Empty } from '@/components/states'
import { Cell, Table } from '@/components/table'
import { Time, Who } from '@/components/text'
import { api, type Schemas } from '@/lib/api'
import type { KillSwitch } from '@/lib/kill-switch'
import { useSession } from '@/lib/session'
import { Target } from './target'

const DRILLED = 'kill_switch.drilled'

type Figures = Omit<Schemas['KillSwitchDrill'], 'kill_id' | 'agent_id'>

const ms = (value: number | null | undefined): string => (value == null ? 'none' : `${value} ms`)

/** Tries the kill switch, and shows how it went the times before. */
export function Drill({ past }: { past: readonly KillSwitch[] }) {
  const { may } = useSession()
  const client = useQueryClient()
  const drill = useMutation({
    mutationFn: () => api.post('/v1/kill-switch/drill', { body: {} }),
    onSettled: () => client.invalidateQueries({ queryKey: ['kill-switch'] }),
  })
  const figures = useFigures(past, drill.data?.kill_id)
  return (
    <Panel
      title="Drill"
      actions={
        may('kill-switch:write') && (
          <Button busy={drill.isPending} onClick={() => drill.mutate()}>
            {drill.isPending ? 'Drilling' : 'Run a drill'}
          </Button>
        )
      }
      flush
    >
      <div className="flex flex-col gap-3 p-4">
        <p className="max-w-2xl text-[13px] text-soft">
          Stops one agent that exists for this, through the ordinary path, while it asks all the time, and
          measures how long that takes. Nothing else is stopped, and nothing stays stopped.
        </p>
        <Problem error={drill.error} />
        <div aria-live="polite">{drill.data && <Result drill={drill.data} />}</div>
      </div>
      {past.length === 0 ? (
        <Empty title="No drill has been run yet" />
      ) : (
        <Table
          label="Past drills"
          head={['When', 'Agent', 'By', 'Held', 'Committed', 'First denied', 'Last allowed']}
        >
          {past.map((kill) => (
            <Past key={kill.kill_id} kill={kill} figures={figures.get(kill.kill_id)} />
          ))}
        </Table>
      )}
      {past.length > 0 && !may('config-logs:read') && (
        <p className="border-t border-line px-4 py-2.5 text-xs text-soft">
          The figures of past drills are in the log; reading them there needs the permission config-logs:read.
        </p>
      )}
    </Panel>
  )
}

function Result({ drill }: { drill: Schemas['KillSwitchDrill'] }) {
  return (
    <div className="flex flex-col gap-3">
      <p className="text-[13px]">
        <Held held={drill.held} />{' '}
        {drill.held
          ? 'The agent was denied, and nothing was allowed after that.'
          : `The switch did not hold: ${drill.allowed_after} answers allowed although they must not. Tell whoever runs this installation.`}
      </p>
      <div className="grid grid-cols-2 gap-3 lg:grid-cols-4">
        <Figure name="Committed after" value={ms(drill.commit_ms)} />
        <Figure name="First denied after" value={ms(drill.first_denied_ms)} note="the time to stop" />
        <Figure name="Last allowed after" value={ms(drill.last_allowed_ms)} note="asked before the commit" />
        <Figure name="Decisions" value={drill.decisions} note={`${drill.allowed_after} wrong`} />
      </div>
    </div>
  )
}

const Held = ({ held }: { held: boolean }) => (
  <Badge tone={held ? 'good' : 'bad'}>{held ? 'Held' : 'Did not hold'}</Badge>
)

function Past({ kill, figures }: { kill: KillSwitch; figures: Figures | undefined }) {
  return (
    <tr className="whitespace-nowrap tabular-nums">
      <Cell>
        <Time at={kill.activated_at} />
      </Cell>
      <Cell>
        <Target kill={kill} />
      </Cell>
      <Cell>
        <Who id={kill.activated_by} />
      </Cell>
      <Cell>{figures && <Held held={figures.held} />}</Cell>
      <Cell>{figures && ms(figures.commit_ms)}</Cell>
      <Cell>{figures && ms(figures.first_denied_ms)}</Cell>
      <Cell>{figures && ms(figures.last_allowed_ms)}</Cell>
    </tr>
  )
}

/**
 * What past drills measured: it stands in the log, beside the agents that they stopped.
 * @param latest the drill that has just ended here: the log is asked anew, also while an answer from before is awaited
 */
function useFigures(past: readonly KillSwitch[], latest: string | undefined): ReadonlyMap<string, Figures> {
  const { may } = useSession()
  const agents = [...new Set(past.flatMap(({ target }) => target ?? []))]
  const found = useQueries({
    queries: agents.map((agent_id) => ({
      queryKey: ['drills', agent_id, past.length, latest],
      queryFn: ({ signal }: { signal: AbortSignal }) =>
        api.get('/v1/logs', { query: { agent_id, type: 'config', limit: 500 }, signal }),
      enabled: may('config-logs:read'),
    })),
    combine: (results) => results.map(({ data }) => data),
  })
  return useMemo(() => {
    const entries = found.flatMap((data) => data ?? []).filter(({ event }) => event === DRILLED)
    return new Map(
      entries.flatMap(({ change, after }) => {
        const id = (change as { id?: string } | null)?.id
        return id !== undefined && after !== null ? [[id, after as unknown as Figures] as const] : []
      }),
    )
  }, [found])
}
