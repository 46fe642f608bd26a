'use client'

import { useQuery } from '@tanstack/react-query'
import { Fact, Facts, Panel } from '@/components/layout'
import { Problem } from '@/components/problem'
import { Loading } from '@/components/states'
import { api, type Schemas, urlOf } from '@/lib/api'

/** That the entry is in the log: offered for others to check, because this page checks nothing. */
export function Proof({ entry }: { entry: Schemas['LogEntry'] }) {
  const path = { log_id: entry.log_id }
  const { data, error, refetch } = useQuery({
    queryKey: ['logs', 'proof', entry.log_id],
    queryFn: ({ signal }) => api.get('/v1/logs/{log_id}/proof', { path, signal }),
    staleTime: Infinity,
  })
  return (
    <Panel title="Proof">
      <Facts>
        <Fact name="Place in the log">
          <span className="tabular-nums">{entry.index}</span>
        </Fact>
        {data && (
          <Fact name="Covered by">a signed checkpoint of {sizeOf(data.proof) ?? 'unknown'} entries</Fact>
        )}
      </Facts>
      <div className="mt-3 flex flex-col gap-3">
        {!data && !error && <Loading what="the proof" rows={2} />}
        {error && <Problem error={error} onRetry={() => void refetch()} />}
        {data && (
          <>
            <a
              href={urlOf('/v1/logs/{log_id}/proof', { path })}
              download={`${entry.log_id}.tlog-proof`}
              className="text-[13px] text-accent underline underline-offset-2"
            >
              Download the proof (C2SP tlog-proof)
            </a>
            <details className="text-[13px]">
              <summary className="cursor-pointer text-soft">Show it</summary>
              <pre
                tabIndex={0}
                aria-label="Proof"
                className="mt-2 max-h-72 overflow-auto rounded-md border border-line bg-sunken p-2 font-mono text-[11px] leading-relaxed"
              >
                {data.proof}
              </pre>
            </details>
          </>
        )}
        <p className="text-xs text-soft">
          The proof names the exact bytes of this entry and the checkpoint that covers them. “agentguard
          verify”, or any reader of the format, checks it without this service.
        </p>
      </div>
    </Panel>
  )
}

/** The checkpoint is the last part of a proof: origin, size, root, then signatures. */
function sizeOf(proof: string): string | null {
  const checkpoint = proof.split('\n\n')[1]
  const size = checkpoint?.split('\n')[1]
  return size !== undefined && /^\d+$/.test(size) ? size : null
}
