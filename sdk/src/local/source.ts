import type { Lease } from '../../../src/core/policy/local.js'
import { APIError } from '../errors.js'
import type { Bundle } from '../generated/openapi.js'
import { readJson } from '../resources/resource.js'
import type { Transport } from '../transport.js'
import { isOlder, makeNonce, type OpenBundle, openBundle, openLease } from './bundle.js'
import { LocalRefused } from './refused.js'
import type { Statements } from './statements.js'

/** Two clocks: one that never jumps but may stop while the machine sleeps, and one that goes on. Milliseconds. */
export interface Clocks {
  readonly monotonic: number
  readonly wall: number
}
export const clocks = (): Clocks => ({ monotonic: performance.now(), wall: Date.now() })

/** How far the two may differ before neither is believed. */
const CLOCKS_APART_MS = 1_000
/** A new lease is asked for so many times within one. */
const RENEWALS = 3
const SHORTEST_MS = 200

/** A bundle and the time for which it may be decided from. */
export class Held {
  constructor(
    readonly bundle: OpenBundle,
    readonly lease: Lease,
    readonly lease_jws: string,
    private readonly asked_at: Clocks,
    private readonly read: () => Clocks,
  ) {}

  /**
   * The service's time, somewhat ahead of it rather than behind: counted from before the lease was asked for. Null when
   * the lease has run out, or when this machine's clocks do not agree about how long ago that was.
   */
  now(): number | null {
    const { monotonic, wall } = this.read()
    const passed = monotonic - this.asked_at.monotonic
    const apart = Math.abs(wall - this.asked_at.wall - passed)
    const { issued_at, lease_until } = this.lease
    const now = issued_at + Math.floor(passed)
    return passed >= 0 && apart < CLOCKS_APART_MS && now < lease_until ? now : null
  }
}

/** Gets the bundle, and leases of it as long as somebody asks; what is wrong with the last answer refuses. */
export class BundleSource {
  private held: Held | null = null
  private refusal: LocalRefused | null = null
  private asking: Promise<void> | null = null
  private again = false
  private timer: NodeJS.Timeout | undefined
  private closed = false

  constructor(
    private readonly transport: Transport,
    private readonly agent_id: string,
    private readonly statements: Statements,
    private readonly read: () => Clocks,
  ) {}

  /** What may be decided from now; null when that is nothing, or nothing yet. */
  current(): Held | null {
    return this.refusal === null && this.held?.now() != null ? this.held : null
  }

  /** As `current`, after asking once more where it is nothing. @throws LocalRefused */
  async usable(): Promise<Held> {
    if (this.closed) throw new LocalRefused('closed', 'this guard was closed')
    const known = this.current()
    if (known) return known
    await this.refresh()
    const got = this.current()
    if (got) return got
    throw this.refusal ?? new LocalRefused('lease_expired', 'the service gave no new lease')
  }

  /** Asks for what is new now. One question at a time; news during one are asked for right after it. */
  refresh(): Promise<void> {
    if (this.asking) {
      this.again = true
      return this.asking
    }
    const asking = this.ask().finally(() => {
      this.asking = null
      if (this.again && !this.closed) {
        this.again = false
        void this.refresh()
      } else this.schedule()
    })
    this.asking = asking
    return asking
  }

  close(): void {
    this.closed = true
    clearTimeout(this.timer)
  }

  private schedule(): void {
    clearTimeout(this.timer)
    if (this.closed) return
    const { issued_at = 0, lease_until = 0 } = this.held?.lease ?? {}
    const wait_ms = Math.max(SHORTEST_MS, (lease_until - issued_at) / RENEWALS)
    this.timer = setTimeout(() => void this.refresh(), wait_ms).unref()
  }

  private async ask(): Promise<void> {
    const asked_at = this.read()
    const nonce = makeNonce()
    const { held } = this
    try {
      const headers = {
        'AgentGuard-Nonce': nonce,
        ...(held && this.refusal === null && { 'If-None-Match': held.bundle.etag }),
      }
      const call = {
        method: 'GET',
        path: `/v1/agents/${encodeURIComponent(this.agent_id)}/bundle`,
        speaker: 'agent',
      } as const
      const { value, answer } = await this.transport.send(call, { headers, maxRetries: 0 }, (response) =>
        response.status === 304 ? Promise.resolve(null) : readJson(response),
      )
      const etag = answer.headers.get('ETag') ?? ''
      const bundle =
        value === null && held
          ? held.bundle
          : await openBundle(value as Bundle, etag, this.agent_id, this.statements)
      const jws = answer.headers.get('AgentGuard-Lease')
      const lease = await openLease(jws, bundle, nonce, this.statements)
      if (held && isOlder(bundle.manifest, held.bundle.manifest))
        throw new LocalRefused('bundle_rolled_back', 'the service gave an older configuration than before')
      this.held = new Held(bundle, lease, jws ?? '', asked_at, this.read)
      this.refusal = null
    } catch (error) {
      this.refusal = refusalOf(error) ?? this.refusal
    }
  }
}

/** What refuses at once; null for what only lets the lease run out. */
function refusalOf(error: unknown): LocalRefused | null {
  if (error instanceof LocalRefused) return error
  if (!(error instanceof APIError)) return new LocalRefused('bundle_invalid', 'the bundle cannot be read')
  const refused = error.status !== undefined && error.status >= 400 && error.status < 500 && !error.retryable
  return refused ? new LocalRefused('bundle_refused', error.message) : null
}
