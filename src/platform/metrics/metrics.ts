import { Injectable } from '@nestjs/common'
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client'
import { Problem } from '../../core/problems.js'
import { primary } from '../cluster/worker.js'
import { KILL_SCOPES } from '../../core/policy/stages/kill.js'
import { Settings } from '../config/settings.js'
import { LabelBudget } from './label-budget.js'

export type PolicyOutcome =
  'allowed' | 'denied_by_rule' | 'denied_no_policy' | 'denied_default' | 'denied_kill_switch' | 'pending'
export type GaugeSource =
  'rate_limits_local' | 'active_agents' | 'database_connections' | 'ledger_halted' | 'ledger_unsigned'

/** A gauge whose source does not answer in this time keeps its last value: a scrape must not hang on a database. */
const GAUGE_TIMEOUT_MS = 1_000
/** Longer than each worker may take, shorter than a scraper waits. */
const SCRAPE_TIMEOUT_MS = 2_500
const BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

/**
 * Every metric this service has (row AG-95), each really fed. Labels are bounded (C20): endpoints are route
 * templates, actions verbs of rules within a budget, agents absent unless `METRICS_AGENT_LABELS`.
 */
@Injectable()
export class Metrics {
  readonly registry = new Registry()
  private readonly verbs = new LabelBudget(100)
  private readonly results = new LabelBudget(20)
  private readonly sources = new Map<GaugeSource, () => number | Promise<number>>()

  private readonly httpRequests = this.counter('agentguard_http_requests_total', 'HTTP requests answered', [
    'method',
    'endpoint',
    'status',
  ])
  private readonly httpErrors = this.counter(
    'agentguard_http_errors_total',
    'HTTP answers of 400 and above',
    ['method', 'endpoint', 'status'],
  )
  private readonly httpDuration = new Histogram({
    name: 'agentguard_http_request_duration_seconds',
    help: 'Time from the request line to the end of the answer',
    labelNames: ['method', 'endpoint'],
    buckets: BUCKETS,
    registers: [this.registry],
  })
  private readonly inProgress = new Gauge({
    name: 'agentguard_requests_inprogress',
    help: 'HTTP requests being answered',
    registers: [this.registry],
  })
  private readonly enforcements = this.counter('agentguard_enforcement_total', 'Decisions given', [
    'agent_id',
    'action',
    'allowed',
  ])
  private readonly logs = this.counter('agentguard_logs_total', 'Actions reported by agents', [
    'agent_id',
    'action',
    'result',
  ])
  private readonly evaluations = this.counter('agentguard_policy_evaluations_total', 'Policy evaluations', [
    'outcome',
  ])
  private readonly authenticationFailures = this.counter(
    'agentguard_authentication_failures_total',
    'Requests without valid credentials',
    ['type'],
  )
  private readonly rateLimitViolations = this.counter(
    'agentguard_rate_limit_violations_total',
    'Requests refused by a rate limit',
    ['limit'],
  )

  private readonly deliveries = this.counter(
    'agentguard_deliveries_total',
    'Attempts to deliver an event to a webhook (whk) or as a notification (ntf)',
    ['channel', 'result'],
  )
  private readonly deliveryDuration = new Histogram({
    name: 'agentguard_delivery_duration_seconds',
    help: 'Time that an attempt to deliver an event took',
    labelNames: ['channel'],
    buckets: BUCKETS,
    registers: [this.registry],
  })

  constructor(private readonly settings: Settings) {
    this.gauge('agentguard_active_agents', 'Agents that are active', 'active_agents')
    this.gauge(
      'agentguard_database_connections',
      'Open database connections of this process',
      'database_connections',
    )
    this.gauge(
      'agentguard_ledger_halted',
      'Logs that are not signed because something differed',
      'ledger_halted',
    )
    this.gauge(
      'agentguard_ledger_unsigned',
      'Logs with entries that no checkpoint covers yet',
      'ledger_unsigned',
    )
    this.gauge(
      'agentguard_rate_limits_local',
      '1 while limits that should be shared are kept by each process alone',
      'rate_limits_local',
    )
    collectDefaultMetrics({ register: this.registry })
    primary()?.answer('metrics', () => this.registry.getMetricsAsJSON())
  }

  /**
   * The metrics in Prometheus' text format; in a worker those of all workers, added up.
   * @throws Problem `not_ready` when the primary process does not answer
   */
  async text(): Promise<string> {
    const line = primary()
    if (!line) return this.registry.metrics()
    try {
      return await line.ask<string>('metrics', null, SCRAPE_TIMEOUT_MS)
    } catch (cause) {
      throw new Problem('not_ready', { retry_after: 1, cause })
    }
  }

  /** Feeds the gauge of active kill switches at each scrape. */
  onKillSwitches(read: () => Promise<readonly { scope: string; count: number }[]>): void {
    new Gauge({
      name: 'agentguard_kill_switch_active',
      help: 'Kill switches that are active, by scope',
      labelNames: ['scope'],
      // Every worker counts the same rows.
      aggregator: 'max',
      registers: [this.registry],
      async collect() {
        const counts = await within(GAUGE_TIMEOUT_MS, read)
        if (!counts) return
        for (const scope of KILL_SCOPES) this.labels(scope).set(0)
        for (const { scope, count } of counts) this.labels(scope).set(count)
      },
    })
  }

  /** Feeds a gauge at each scrape. The capability that knows the number registers itself once. */
  onCollect(source: GaugeSource, read: () => number | Promise<number>): void {
    this.sources.set(source, read)
  }

  requestStarted(): void {
    this.inProgress.inc()
  }

  requestEnded(): void {
    this.inProgress.dec()
  }

  /** Counts an answer. `endpoint` is a route template or `unmatched`. */
  requestAnswered(method: string, endpoint: string, status: number, duration_s: number): void {
    this.httpRequests.labels(method, endpoint, String(status)).inc()
    if (status >= 400) this.httpErrors.labels(method, endpoint, String(status)).inc()
    this.httpDuration.labels(method, endpoint).observe(duration_s)
  }

  /** Counts a decision. `verb` is the verb of the rule that matched, if one did. */
  decided(agent_id: string, verb: string | undefined, allowed: boolean): void {
    this.enforcements.labels(this.agent(agent_id), this.verbs.take(verb), String(allowed)).inc()
  }

  /** Counts an action that an agent reported, with the result it stated. */
  reported(agent_id: string, verb: string | undefined, result: string): void {
    this.logs.labels(this.agent(agent_id), this.verbs.take(verb), this.results.take(result)).inc()
  }

  policyEvaluated(outcome: PolicyOutcome): void {
    this.evaluations.labels(outcome).inc()
  }

  /** `session`: a cookie that is not valid (any more). `sign_in`: a wrong email or password. */
  authenticationFailed(type: 'admin' | 'agent' | 'session' | 'token' | 'sign_in' | 'sign_on'): void {
    this.authenticationFailures.labels(type).inc()
  }

  rateLimited(limit: string): void {
    this.rateLimitViolations.labels(limit).inc()
  }

  /** Counts an attempt to deliver an event. */
  delivered(channel: string, result: string, duration_s: number): void {
    this.deliveries.labels(channel, result).inc()
    this.deliveryDuration.labels(channel).observe(duration_s)
  }

  private agent(agent_id: string): string {
    return this.settings.metrics_agent_labels ? agent_id : ''
  }

  private counter<const T extends string>(name: string, help: string, labelNames: T[]): Counter<T> {
    return new Counter({ name, help, labelNames, registers: [this.registry] })
  }

  private gauge(name: string, help: string, source: GaugeSource): void {
    const read = () => this.sources.get(source)
    new Gauge({
      name,
      help,
      // Of several workers: most gauges say the same in each, about the installation.
      aggregator: source === 'database_connections' ? 'sum' : 'max',
      registers: [this.registry],
      async collect() {
        const value = await within(GAUGE_TIMEOUT_MS, read())
        if (value !== undefined) this.set(value)
      },
    })
  }
}

/** The value, or undefined when there is no source, it fails, or it takes too long. */
async function within<T>(timeout_ms: number, read?: () => T | Promise<T>): Promise<T | undefined> {
  if (!read) return undefined
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), timeout_ms)
  })
  try {
    return await Promise.race([read(), late])
  } catch {
    // The database's own check reports that it is away; the gauge keeps what was last known.
    return undefined
  } finally {
    clearTimeout(timer)
  }
}
