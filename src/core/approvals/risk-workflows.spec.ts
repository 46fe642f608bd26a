import fc from 'fast-check'
import { RISK_LEVELS } from '../risk.js'
import { atRisk } from './risk-workflows.js'
import { combineWorkflows, mayDecide, SHIPPED_WORKFLOWS, type Workflow } from './workflow.js'

const shipped = (name: string): Workflow => {
  const workflow = SHIPPED_WORKFLOWS[name]
  if (!workflow) throw new Error(name)
  return workflow
}

describe('escalating at once', () => {
  const levels = (risk: Parameters<typeof atRisk>[1]) => atRisk(shipped('high-risk'), risk).levels.length

  it('leaves the first level out from the risk on that the workflow says', () => {
    expect([levels(null), levels('low'), levels('medium'), levels('high'), levels('critical')]).toEqual([
      2, 2, 2, 1, 1,
    ])
  })

  it('never leaves a workflow without a level', () => {
    const only = { ...shipped('critical'), escalate_at_risk: 'low' } as const
    expect(atRisk(only, 'critical').levels).toEqual(only.levels)
  })

  it('and joining a workflow for the risk lets nobody decide who could not, for longer or with fewer', () => {
    const names = fc.subarray(Object.keys(SHIPPED_WORKFLOWS), { minLength: 1 })
    const roles = fc.subarray(['owner', 'admin', 'approver', 'viewer'])
    fc.assert(
      fc.property(
        names,
        fc.constantFrom(...RISK_LEVELS),
        fc.constantFrom('high-risk', 'critical'),
        roles,
        (rules, risk, added, held) => {
          const of = (all: readonly string[], level: typeof risk | null) =>
            combineWorkflows(Object.fromEntries(all.map((name) => [name, atRisk(shipped(name), level)])))
          const [without, joined] = [of(rules, null), of([...rules, added], risk)]
          const candidate = { roles: held, team: null }
          const time = ({ levels }: typeof joined) =>
            levels.reduce((sum, level) => sum + level.time_limit_seconds, 0)
          expect(joined.approvals).toBeGreaterThanOrEqual(without.approvals)
          expect(time(joined)).toBeLessThanOrEqual(time(without))
          expect(joined.grant_seconds).toBeLessThanOrEqual(without.grant_seconds)
          expect(without.creator_may_decide || !joined.creator_may_decide).toBe(true)
          expect(mayDecide(without, 0, candidate) || !mayDecide(joined, 0, candidate)).toBe(true)
        },
      ),
    )
  })
})
