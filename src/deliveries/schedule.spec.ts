import { MAX_ATTEMPTS, pauseAfter } from './schedule.js'

const NOW = Date.UTC(2026, 0, 1)
const HOUR = 3_600_000

it('retries over about three days, then gives up', () => {
  let total = 0
  for (let attempt = 1; attempt < MAX_ATTEMPTS; attempt++)
    total += pauseAfter(attempt, 0.5, undefined, NOW) ?? NaN
  expect(total / HOUR).toBeCloseTo(75.6, 1)
  expect(pauseAfter(MAX_ATTEMPTS, 0.5, '5', NOW)).toBeNull()
})

it('spreads retries by a fifth to either side', () => {
  expect([pauseAfter(1, 0, undefined, NOW), pauseAfter(1, 0.999999, undefined, NOW)]).toEqual([4_000, 6_000])
})

it('waits as long as the receiver asks, never shorter than it would have, never longer than a day', () => {
  expect(pauseAfter(1, 0.5, '60', NOW)).toBe(60_000)
  expect(pauseAfter(2, 0.5, '60', NOW)).toBe(300_000)
  expect(pauseAfter(1, 0.5, 'Thu, 01 Jan 2026 01:00:00 GMT', NOW)).toBe(HOUR)
  expect(pauseAfter(1, 0.5, '999999999', NOW)).toBe(24 * HOUR)
  for (const nonsense of [
    '-1',
    '1e9',
    'soon',
    '',
    '2026-01-02',
    'Thu, nonsense',
    'Wed, 31 Dec 2025 00:00:00 GMT',
  ])
    expect([nonsense, pauseAfter(1, 0.5, nonsense, NOW)]).toEqual([nonsense, 5_000])
})
