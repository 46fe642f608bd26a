'use client'

import { ApiProblem, isPassing } from '@/lib/api'
import { Button } from './controls'

/** What went wrong, in the words of the API. */
export function Problem({ error, onRetry }: { error: unknown; onRetry?: () => void }) {
  if (error === null || error === undefined) return null
  const problem = error instanceof ApiProblem ? error.problem : null
  const title = problem?.title ?? (error instanceof Error ? error.message : 'Something failed here')
  const retry_after = error instanceof ApiProblem ? error.retry_after : null
  return (
    <div role="alert" className="rounded-md border border-bad/30 bg-bad-wash px-3 py-2 text-[13px]">
      <p className="font-medium text-bad">{title}</p>
      {problem?.detail !== undefined && problem.detail !== `${problem.title}.` && (
        <p className="mt-0.5 break-words">{problem.detail}</p>
      )}
      {problem?.errors !== undefined && problem.errors.length > 0 && (
        <ul className="mt-1 list-disc pl-4">
          {problem.errors.map(({ path, message }, i) => (
            <li key={i} className="break-words">
              {path !== '' && <code className="font-mono text-xs">{path}</code>} {message}
            </li>
          ))}
        </ul>
      )}
      {isPassing(error) && (
        <p className="mt-0.5 text-soft">
          {retry_after === null ? 'Try again in a moment.' : `Try again in ${retry_after} s.`}
        </p>
      )}
      {(onRetry || problem?.request_id) && (
        <div className="mt-1.5 flex flex-wrap items-center gap-3">
          {onRetry && <Button onClick={onRetry}>Try again</Button>}
          {problem?.request_id && (
            <span className="font-mono text-xs text-soft">request {problem.request_id}</span>
          )}
        </div>
      )}
    </div>
  )
}

/** What the API says about one field. */
export function fieldError(error: unknown, path: string): string | undefined {
  if (!(error instanceof ApiProblem)) return undefined
  return error.problem.errors?.find((one) => one.path === path)?.message
}
