import { Injectable } from '@nestjs/common'
import { normalizeIp } from '@nestjs/throttler'
import { Problem } from '../../core/problems.js'
import type { Principal } from '../access/principal.js'
import { Clock } from '../clock/clock.js'
import { Settings } from '../config/settings.js'
import { Metrics } from '../metrics/metrics.js'
import { CounterStorage } from './counter-storage.js'
import type { LimitClass, RateWindow } from './limits.js'

export interface RateOutcome {
  readonly allowed: boolean
  readonly windows: readonly { window: RateWindow; remaining: number; reset_s: number; exceeded: boolean }[]
}

/** Set by who has counted the request already (the fast lane), so that it counts once. */
export interface WithRateOutcome {
  rate_outcome?: RateOutcome
}

/** Who is counted (row AG-99): the agent, else the administrator, else the address (IPv6 by /64). */
export function rateIdentity(principal: Principal | undefined, ip: string | undefined): string {
  switch (principal?.kind) {
    case 'agent':
      return `agent:${principal.agent_id}`
    case 'admin_key':
      return `admin:${principal.key_id}`
    case 'member':
      return `member:${principal.member_id}`
    case 'root':
      return 'root'
    default:
      return `ip:${normalizeIp(ip ?? 'unknown')}`
  }
}

/** Counts requests against the table of limits. Plain and synchronous: the fast lane calls it as the guard does. */
@Injectable()
export class RateLimiter {
  private readonly now: () => number

  constructor(
    private readonly settings: Settings,
    private readonly storage: CounterStorage,
    private readonly metrics: Metrics,
    clock: Clock,
  ) {
    this.now = () => clock.now()
  }

  /** Counts one request. Undefined when limits are switched off. A refused request counts as well. */
  take(limitClass: LimitClass, identity: string): RateOutcome | undefined {
    return this.count(limitClass, identity, 1)
  }

  /**
   * Counts the further items of a request that `take` has counted as one. All fit, or none is counted: a batch that
   * is refused must not use up what a smaller one could still have.
   */
  takeMore(limitClass: LimitClass, identity: string, items: number): RateOutcome | undefined {
    const before = this.count(limitClass, identity, 0)
    if (!before) return undefined
    const windows = before.windows.map((window) => ({ ...window, exceeded: window.remaining < items }))
    if (!windows.some(({ exceeded }) => exceeded)) return this.count(limitClass, identity, items)
    this.metrics.rateLimited(limitClass)
    return { allowed: false, windows }
  }

  private count(limitClass: LimitClass, identity: string, weight: number): RateOutcome | undefined {
    if (!this.settings.rate_limit_enabled) return undefined
    const now = this.now()
    let allowed = true
    const windows = this.settings.rate_limits[limitClass].map((window) => {
      const { count, resets_at } = this.storage.hit(window, identity, weight)
      const exceeded = count > window.limit
      if (exceeded) allowed = false
      const reset_s = Math.max(1, Math.ceil((resets_at - now) / 1000))
      return { window, remaining: Math.max(0, window.limit - count), reset_s, exceeded }
    })
    if (!allowed && weight > 0) this.metrics.rateLimited(limitClass)
    return { allowed, windows }
  }
}

/** Writes the headers of an outcome. @throws Problem `rate_limit_exceeded` when it refuses */
export function applyRate(
  response: { setHeader(name: string, value: string): unknown },
  outcome: RateOutcome,
): void {
  for (const [name, value] of Object.entries(rateHeaders(outcome, Date.now())))
    response.setHeader(name, value)
  if (!outcome.allowed) throw rateProblem(outcome)
}

/**
 * The headers of draft-ietf-httpapi-ratelimit-headers, and the older `X-RateLimit-*` for the window that will be
 * used up first (`Reset` in epoch seconds there).
 */
export function rateHeaders({ windows }: RateOutcome, now_ms: number): Record<string, string> {
  const [first, ...others] = windows
  if (!first) return {}
  const tightest = others.reduce((least, next) => (next.remaining < least.remaining ? next : least), first)
  return {
    RateLimit: windows
      .map(({ window, remaining, reset_s }) => `"${window.name}";r=${remaining};t=${reset_s}`)
      .join(', '),
    'RateLimit-Policy': windows
      .map(({ window }) => `"${window.name}";q=${window.limit};w=${window.seconds}`)
      .join(', '),
    'X-RateLimit-Limit': String(tightest.window.limit),
    'X-RateLimit-Remaining': String(tightest.remaining),
    'X-RateLimit-Reset': String(Math.ceil(now_ms / 1000) + tightest.reset_s),
  }
}

/** The 429 of a refused request, with the policies it broke. */
export function rateProblem({ windows }: RateOutcome): Problem {
  const exceeded = windows.filter((window) => window.exceeded)
  const retry_after = Math.max(...exceeded.map(({ reset_s }) => reset_s))
  return new Problem('rate_limit_exceeded', {
    detail: `The limit is ${exceeded.map(({ window }) => `${window.limit} requests in ${window.seconds} s`).join(' and ')}. Try again in ${retry_after} s.`,
    retry_after,
    extensions: { 'violated-policies': exceeded.map(({ window }) => window.name) },
  })
}
