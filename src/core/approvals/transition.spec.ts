import * as fc from 'fast-check'
import {
  type ApprovalEvent,
  type ApprovalState,
  begin,
  type Bounds,
  type Happened,
  type Refusal,
  step,
} from './transition.js'
import { combineWorkflows, SHIPPED_WORKFLOWS, type Workflow } from './workflow.js'

const standard = SHIPPED_WORKFLOWS.standard as Workflow
const boundsOf = (workflow: Partial<Workflow>, more: Partial<Bounds> = {}): Bounds => ({
  workflow: combineWorkflows({ mine: { ...standard, ...workflow } }),
  requesters: ['agent:agt_1'],
  creators: ['maker'],
  timeout_may_approve: false,
  ...more,
})

const vote = (person: string, effect: 'approve' | 'deny', roles = ['approver'], reason = 'why') =>
  ({ kind: 'vote', vote: { person, effect }, candidate: { roles, team: null }, reason }) as ApprovalEvent

/** Everything in order; refused events change nothing. */
function run(events: readonly (readonly [number, ApprovalEvent])[], bounds: Bounds) {
  let state = begin(bounds.workflow, 0)
  const happened: Happened[] = []
  const refused: Refusal['why'][] = []
  for (const [now, event] of events) {
    const passed = step(state, { kind: 'time' }, now, bounds)
    if (passed.ok) state = take(passed.value)
    const stepped = step(state, event, now, bounds)
    if (stepped.ok) state = take(stepped.value)
    else refused.push(stepped.errors.why)
  }
  return { state, happened, refused }

  function take(value: { state: ApprovalState; happened: readonly Happened[] }): ApprovalState {
    happened.push(...value.happened)
    return value.state
  }
}

describe('a step', () => {
  it.each<[string, Partial<Workflow>, [number, ApprovalEvent][], string, string[]]>([
    ['one yes is enough', {}, [[1, vote('a', 'approve')]], 'approved', []],
    ['two are needed', { approvals: 2 }, [[1, vote('a', 'approve')]], 'pending', []],
    [
      'nobody votes twice',
      { approvals: 2 },
      [
        [1, vote('a', 'approve')],
        [2, vote('a', 'approve')],
        [3, vote('a', 'deny')],
      ],
      'pending',
      ['voted', 'voted'],
    ],
    ['the first no ends it', { approvals: 3 }, [[1, vote('a', 'deny')]], 'denied', []],
    ['the agent does not approve itself', {}, [[1, vote('agent:agt_1', 'approve')]], 'pending', ['self']],
    ['its maker may', {}, [[1, vote('maker', 'approve')]], 'approved', []],
    ['unless not', { creator_may_decide: false }, [[1, vote('maker', 'approve')]], 'pending', ['self']],
    ['its maker may stop it', { creator_may_decide: false }, [[1, vote('maker', 'deny')]], 'denied', []],
    ['a viewer does not', {}, [[1, vote('a', 'approve', ['viewer'])]], 'pending', ['role']],
    ['nor an approver later', {}, [[3_600_000, vote('a', 'approve')]], 'pending', ['role']],
    ['an admin then', {}, [[3_600_000, vote('a', 'approve', ['admin'])]], 'approved', []],
    ['nobody too late', {}, [[7_200_000, vote('a', 'approve', ['admin'])]], 'expired', ['decided']],
    ['nothing was granted', {}, [[1, { kind: 'revoke', usable: true }]], 'pending', ['pending']],
    [
      'what was granted is taken back',
      {},
      [
        [1, vote('a', 'approve')],
        [2, { kind: 'revoke', usable: true }],
        [3, { kind: 'revoke', usable: true }],
      ],
      'cancelled',
      ['decided'],
    ],
    [
      'but not what is used up',
      {},
      [
        [1, vote('a', 'approve')],
        [2, { kind: 'revoke', usable: false }],
      ],
      'approved',
      ['spent'],
    ],
  ])('%s', (_, workflow, events, status, refused) => {
    const outcome = run(events, boundsOf(workflow))
    expect([outcome.state.status, outcome.refused]).toEqual([status, refused])
  })

  it('wants a reason where the workflow does', () => {
    const bounds = boundsOf({ reason_required: true })
    const silent = { ...vote('a', 'approve'), reason: null } as ApprovalEvent
    expect(run([[1, silent]], bounds).refused).toEqual(['reason'])
  })
})

const PEOPLE = ['a', 'b', 'c', 'maker', 'agent:agt_1']
const events = fc.oneof(
  { weight: 6, arbitrary: votes() },
  { weight: 1, arbitrary: fc.constant<ApprovalEvent>({ kind: 'cancel' }) },
  { weight: 1, arbitrary: fc.constant<ApprovalEvent>({ kind: 'time' }) },
  {
    weight: 1,
    arbitrary: fc.boolean().map((usable): ApprovalEvent => ({ kind: 'revoke', usable })),
  },
)
function votes(): fc.Arbitrary<ApprovalEvent> {
  return fc
    .tuple(
      fc.constantFrom(...PEOPLE),
      fc.constantFrom('approve' as const, 'deny' as const),
      fc.constantFrom(['approver'], ['admin'], ['owner'], ['viewer']),
      fc.constantFrom('why', null),
    )
    .map(([person, effect, roles, reason]) => ({
      kind: 'vote',
      vote: { person, effect },
      candidate: { roles, team: null },
      reason,
    }))
}
const level = fc.record({
  roles: fc.constantFrom(['approver', 'admin'], ['admin']),
  teams: fc.constant<string[]>([]),
  time_limit_seconds: fc.integer({ min: 1, max: 20 }),
})
const bounds = fc
  .record({
    levels: fc.array(level, { minLength: 1, maxLength: 3 }),
    approvals: fc.integer({ min: 1, max: 3 }),
    reason_required: fc.boolean(),
    first_denial_ends: fc.boolean(),
    on_timeout: fc.constantFrom('deny' as const, 'approve' as const),
    creator_may_decide: fc.boolean(),
    timeout_may_approve: fc.boolean(),
  })
  .map(({ timeout_may_approve, ...workflow }) => boundsOf(workflow, { timeout_may_approve }))
/** At most 15 s between two events, so that histories end within levels and between them. */
const histories = fc
  .array(fc.tuple(fc.integer({ min: 0, max: 15_000 }), events), { maxLength: 20 })
  .map((steps) => {
    let now = 0
    return steps.map(([after, event]) => [(now += after), event] as const)
  })

describe('any history', () => {
  it('is approved by enough different people who may, or by time where it may, and by nothing else', () => {
    fc.assert(
      fc.property(bounds, histories, (given, history) => {
        const { state, happened } = run(history, given)
        if (!happened.includes('approved')) return
        const yes = new Set(
          state.votes.filter(({ effect }) => effect === 'approve').map(({ person }) => person),
        )
        const by_time = given.timeout_may_approve && given.workflow.on_timeout === 'approve'
        expect(by_time || yes.size >= given.workflow.approvals).toBe(true)
        expect(yes.has('agent:agt_1')).toBe(false)
        expect(!given.workflow.creator_may_decide && yes.has('maker')).toBe(false)
      }),
      { numRuns: 2000 },
    )
  })

  it('ends once: nothing happens after the end, but that what was granted is taken back', () => {
    fc.assert(
      fc.property(bounds, histories, (given, history) => {
        const { happened } = run(history, given)
        const end = happened.findIndex((one) => !['voted', 'escalated'].includes(one))
        const after = end < 0 ? [] : happened.slice(end + 1)
        expect(after).toEqual(after.length > 0 && happened[end] === 'approved' ? ['revoked'] : [])
      }),
      { numRuns: 2000 },
    )
  })

  it('is ended by time, as late as the levels last together, however often anybody looked before', () => {
    fc.assert(
      fc.property(bounds, fc.array(fc.integer({ min: 0, max: 60_000 })), (given, looks) => {
        const last = given.workflow.levels.reduce((sum, one) => sum + one.time_limit_seconds * 1000, 0)
        const times = looks.filter((at) => at < last).sort((a, b) => a - b)
        const looked = run(
          times.map((at) => [at, { kind: 'time' }]),
          given,
        )
        expect(looked.state.status).toBe('pending')
        const ended = step(looked.state, { kind: 'time' }, last, given)
        const slept = step(begin(given.workflow, 0), { kind: 'time' }, last, given)
        expect(ended.ok && slept.ok && ended.value.state).toEqual(slept.ok && slept.value.state)
        expect(ended.ok && ended.value.state.status).not.toBe('pending')
      }),
    )
  })
})
