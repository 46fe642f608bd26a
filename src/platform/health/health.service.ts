import { Injectable, ServiceUnavailableException } from '@nestjs/common'
import { HealthCheckService, HealthIndicatorService, type HealthCheckResult } from '@nestjs/terminus'
import { Clock } from '../clock/clock.js'
import { Settings } from '../config/settings.js'
import { Shutdown } from '../http/shutdown.js'
import { SERVICE, VERSION } from '../http/version.js'
import type { HealthDto, LivenessDto, ReadinessDto, StatisticsDto } from './health.dto.js'
import { Readiness, type CheckResult } from './readiness.js'
import { Statistics } from './statistics.js'

/** The shapes of rows AG-90 to AG-93 over terminus' checks. */
@Injectable()
export class HealthService {
  constructor(
    private readonly terminus: HealthCheckService,
    private readonly indicators: HealthIndicatorService,
    private readonly readiness: Readiness,
    private readonly statistics: Statistics,
    private readonly shutdown: Shutdown,
    private readonly settings: Settings,
    private readonly clock: Clock,
  ) {}

  health(): HealthDto {
    return { status: 'healthy', service: SERVICE, version: VERSION, timestamp: this.timestamp() }
  }

  live(): LivenessDto {
    return { status: 'alive', uptime_seconds: uptime(), timestamp: this.timestamp() }
  }

  /** Ready to decide: every check passes in time and the process is not closing. */
  async ready(): Promise<ReadinessDto> {
    const results = await this.readiness.all()
    const outcome = await this.summary(results)
    const checks: Record<string, string | number> = {}
    for (const { name, state, latency_ms } of results) {
      checks[name] = state
      if (name === 'database') checks.database_latency_ms = latency_ms
    }
    const degraded = results.some(({ state }) => state === 'degraded')
    const status =
      outcome === 'ok' && !this.shutdown.isDraining ? (degraded ? 'degraded' : 'ready') : 'unhealthy'
    return { status, checks, timestamp: this.timestamp() }
  }

  async stats(): Promise<StatisticsDto> {
    const [database, agents, kills] = await Promise.all([
      this.readiness.one('database'),
      this.statistics.agents(),
      this.statistics.killSwitches(),
    ])
    return {
      status: database.state,
      agents,
      kill_switches: kills && {
        active: kills.reduce((sum, { count }) => sum + count, 0),
        installation: kills.some(({ scope, count }) => scope === 'installation' && count > 0),
      },
      database: { connected: database.state !== 'unhealthy', latency_ms: database.latency_ms },
      system: { uptime_seconds: uptime(), environment: this.settings.node_env },
    }
  }

  /** Terminus joins the checks (and knows when the application is shutting down). */
  private async summary(results: readonly CheckResult[]): Promise<HealthCheckResult['status']> {
    try {
      const { status } = await this.terminus.check(
        results.map(({ name, state }) => () => {
          const indicator = this.indicators.check(name)
          return state === 'unhealthy' ? indicator.down() : indicator.up()
        }),
      )
      return status
    } catch (error) {
      if (error instanceof ServiceUnavailableException) return 'error'
      throw error
    }
  }

  private timestamp(): string {
    return new Date(this.clock.now()).toISOString()
  }
}

const uptime = (): number => Math.round(process.uptime() * 1000) / 1000
