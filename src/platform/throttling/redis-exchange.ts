import { randomBytes } from 'node:crypto'
import { Redis } from 'ioredis'
import { CounterExchange, type CounterReport, type CounterTotal } from './counter-exchange.js'

/** Nobody waits for a report, so this only decides how soon an outage is called one. */
const TIMEOUT_MS = 250
const CONNECT_MS = 1_000
const RETRY_MS = 1_000
/** Silent for so long with questions open: the other end is gone, whatever TCP believes. */
const SILENT_MS = 2_000
/** Redis does nothing else while a script runs: 200 keys are about half a millisecond. */
const KEYS_A_CALL = 200

/** A hash a window, with one field a process; the first report says when it ends. Answers total and end of each. */
const REPORT = `
local answer = {}
for i, key in ipairs(KEYS) do
  redis.call('HSET', key, ARGV[1], ARGV[2 * i])
  local ttl = redis.call('PTTL', key)
  if ttl < 0 then
    ttl = tonumber(ARGV[2 * i + 1])
    redis.call('PEXPIRE', key, ttl)
  end
  local total = 0
  for _, own in ipairs(redis.call('HVALS', key)) do total = total + own end
  answer[2 * i - 1] = total
  answer[2 * i] = ttl
end
return answer`

/** Shares counters through Redis or Valkey. Its answers are advice for limits, never authority for a decision. */
export class RedisExchange extends CounterExchange {
  readonly place = 'Redis'
  private readonly client: Redis
  private readonly process_name = randomBytes(6).toString('base64url')
  private connecting = false
  private answered_at = -Infinity

  /** @param prefix keeps installations apart that share a Redis */
  constructor(
    url: string,
    private readonly prefix: string,
  ) {
    super()
    this.client = new Redis(url, {
      lazyConnect: true,
      connectTimeout: CONNECT_MS,
      commandTimeout: TIMEOUT_MS,
      // A report that cannot be sent now is out of date when it could: fail at once, the next one says more.
      enableOfflineQueue: false,
      autoResendUnfulfilledCommands: false,
      maxRetriesPerRequest: 0,
      retryStrategy: () => RETRY_MS,
    })
    // Every failed attempt is an event; `report` throws, and its caller says it once.
    this.client.on('error', () => {})
  }

  async report(reports: readonly CounterReport[]): Promise<CounterTotal[]> {
    this.connect()
    const totals: CounterTotal[] = []
    for (let at = 0; at < reports.length; at += KEYS_A_CALL)
      totals.push(...(await this.call(reports.slice(at, at + KEYS_A_CALL))))
    return totals
  }

  override async close(): Promise<void> {
    this.client.disconnect()
    return Promise.resolve()
  }

  private async call(reports: readonly CounterReport[]): Promise<CounterTotal[]> {
    const keys = reports.map(({ key }) => this.prefix + key)
    const numbers = reports.flatMap(({ own, ttl_ms }) => [own, Math.max(1, Math.ceil(ttl_ms))])
    try {
      const answer = await this.client.eval(REPORT, keys.length, ...keys, this.process_name, ...numbers)
      this.answered_at = performance.now()
      return readTotals(answer, reports.length)
    } catch (error) {
      if (this.client.status === 'ready' && performance.now() - this.answered_at > SILENT_MS) {
        this.answered_at = performance.now()
        this.client.disconnect(true)
      }
      throw error
    }
  }

  private connect(): void {
    if (this.connecting) return
    this.connecting = true
    this.answered_at = performance.now()
    this.client.connect().catch(() => {}) // it goes on trying by itself
  }
}

function readTotals(answer: unknown, count: number): CounterTotal[] {
  if (!Array.isArray(answer) || answer.length !== 2 * count)
    throw new Error('Redis did not answer as many totals as it was asked for')
  return Array.from({ length: count }, (_, i) => ({
    total: Number(answer[2 * i]),
    ttl_ms: Number(answer[2 * i + 1]),
  }))
}
