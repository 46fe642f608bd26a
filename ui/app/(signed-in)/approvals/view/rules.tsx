'use client'

import { Fact, Facts, Panel } from '@/components/layout'
import { Time, Who } from '@/components/text'
import type { Schemas } from '@/lib/api'
import { approvesOf, groupWords } from '@/lib/approvals'
import { duration, useNow } from '@/lib/time'

/** Who may decide, how many have to, and until when. */
export function Rules({ request }: { request: Schemas['ApprovalRequest'] }) {
  const { terms, votes, workflows, approvals_needed, status } = request
  const approves = approvesOf(request).length
  return (
    <Panel title="Who decides">
      <div className="mb-3">
        <div className="flex justify-between text-[13px]">
          <span>Approvals</span>
          <span className="tabular-nums">
            {approves} of {approvals_needed}
          </span>
        </div>
        <progress
          aria-label="Approvals so far"
          value={approves}
          max={approvals_needed}
          className="mt-1 h-1.5 w-full appearance-none overflow-hidden rounded-full bg-sunken [&::-moz-progress-bar]:bg-good [&::-webkit-progress-bar]:bg-sunken [&::-webkit-progress-value]:bg-good"
        />
        {votes.length > 0 && (
          <ul className="mt-2 flex flex-col gap-1 text-[13px]">
            {votes.map(({ person, vote, at }) => (
              <li key={person} className="flex flex-wrap justify-between gap-x-2">
                <span>
                  <Who id={person} /> {vote === 'approve' ? 'approves' : 'denies'}
                </span>
                <span className="text-xs text-soft">
                  <Time at={at} />
                </span>
              </li>
            ))}
          </ul>
        )}
      </div>
      <ol className="mb-3 flex flex-col gap-2">
        {terms.levels.map(({ who, time_limit_seconds }, i) => (
          <Level
            key={i}
            number={i + 1}
            groups={who}
            seconds={time_limit_seconds}
            request={request}
            isCurrent={status === 'pending' && request.level === i + 1}
          />
        ))}
      </ol>
      <Facts>
        <Fact name="Workflow">{workflows.join(', ')}</Fact>
        <Fact name="When time is over">
          {terms.on_timeout === 'approve' ? 'approved, where the organization allows it' : 'denied'}
        </Fact>
        <Fact name="Denials">
          {terms.first_denial_ends ? 'the first one ends it' : `${approvals_needed} end it`}
        </Fact>
        <Fact name="Who made the agent">{terms.creator_may_decide ? 'may decide' : 'may not decide'}</Fact>
        <Fact name="Approved means">once, within {duration(terms.grant_seconds)}</Fact>
      </Facts>
    </Panel>
  )
}

interface LevelProps {
  number: number
  groups: readonly Schemas['ApprovalGroup'][]
  seconds: number
  request: Schemas['ApprovalRequest']
  isCurrent: boolean
}

function Level({ number, groups, seconds, request, isCurrent }: LevelProps) {
  return (
    <li
      aria-current={isCurrent ? 'step' : undefined}
      className={`rounded-md border px-3 py-2 text-[13px] ${isCurrent ? 'border-line-strong bg-sunken' : 'border-line text-soft'}`}
    >
      <div className="flex justify-between gap-2">
        <span className="font-medium">Level {number}</span>
        {isCurrent ? <Countdown until={request.expires_at} /> : <span>{duration(seconds)}</span>}
      </div>
      <div>{groups.map(groupWords).join('; and also ')}</div>
    </li>
  )
}

function Countdown({ until }: { until: string }) {
  const seconds = (Date.parse(until) - useNow()) / 1000
  return (
    <span role="timer" className={`font-medium tabular-nums ${seconds < 300 ? 'text-bad' : ''}`}>
      {seconds <= 0 ? 'time is over' : `${duration(seconds)} left`}
    </span>
  )
}
