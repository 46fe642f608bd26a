import { Injectable } from '@nestjs/common'

/** Slower than this, the database is called degraded (row AG-91). */
export const DEGRADED_MS = 1_000
/** After this, a check counts as failed. */
const CHECK_TIMEOUT_MS = 2_000

export type CheckState = 'healthy' | 'degraded' | 'unhealthy'

export interface CheckResult {
  readonly name: string
  readonly state: CheckState
  readonly latency_ms: number
}

/**
 * What must work before requests are sent here. Capabilities register a check by name at start; it throws, or takes
 * too long, when it fails. `database` must be among them: a service that knows no database is not ready.
 */
@Injectable()
export class Readiness {
  private readonly checks = new Map<string, () => Promise<unknown>>([
    ['database', () => Promise.reject(new Error('no database check is registered'))],
  ])

  register(name: string, check: () => Promise<unknown>): void {
    this.checks.set(name, check)
  }

  /** Runs every check at the same time. */
  async all(): Promise<CheckResult[]> {
    return Promise.all([...this.checks.keys()].map((name) => this.one(name)))
  }

  /** Runs one check. Never throws: what went wrong is the registrant's to log. */
  async one(name: string): Promise<CheckResult> {
    const check = this.checks.get(name) ?? (() => Promise.reject(new Error(`no check is called ${name}`)))
    const start = performance.now()
    const healthy = await finishes(check)
    const latency_ms = Math.round((performance.now() - start) * 100) / 100
    return {
      name,
      state: !healthy ? 'unhealthy' : latency_ms > DEGRADED_MS ? 'degraded' : 'healthy',
      latency_ms,
    }
  }
}

async function finishes(check: () => Promise<unknown>): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => resolve(false), CHECK_TIMEOUT_MS)
  })
  try {
    return await Promise.race([check().then(() => true), late])
  } catch {
    return false
  } finally {
    clearTimeout(timer)
  }
}
