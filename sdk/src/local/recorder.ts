import { APIError } from '../errors.js'
import type { LocalDecisionDto, LocalDecisionsDto, RecordedDecisions } from '../generated/openapi.js'
import { discard, leftovers, setAside } from './leftover.js'
import { LocalRefused } from './refused.js'
import type { Spool, Spooled } from './spool.js'

const BATCH = 100
const BATCH_BYTES = 512 * 1024
/** Decisions are gathered for so long. */
const GATHER_MS = 100
const FIRST_RETRY_MS = 200
const MAX_RETRY_MS = 5_000

export type Send = (batch: LocalDecisionsDto) => Promise<RecordedDecisions>

/** A decision that the service makes otherwise. */
export interface Disagreement {
  readonly seq: number
  readonly log_id: string
}

/** Brings what is in the spool into the log, in order, until the service has it. */
export class Recorder {
  private timer: NodeJS.Timeout | undefined
  private running: Promise<void> | null = null
  private retry_ms = FIRST_RETRY_MS
  private closed = false
  /** Set when the service says that it will never take the next decision. */
  refusal: LocalRefused | null = null

  constructor(
    private readonly spool: Spool,
    private readonly send: Send,
    private readonly disagree: (disagreement: Disagreement) => void,
  ) {}

  /** There is something in the spool. */
  wake(wait_ms = GATHER_MS): void {
    if (this.closed || this.timer || this.running) return
    this.timer = setTimeout(() => {
      this.timer = undefined
      void this.run()
    }, wait_ms).unref()
  }

  /** Sends until the spool is empty, or a batch fails. */
  run(): Promise<void> {
    this.running ??= this.sendAll().finally(() => {
      this.running = null
      if (this.spool.unsent.length > 0 && this.refusal === null) this.wake(this.retry_ms)
    })
    return this.running
  }

  /** What earlier processes left in the folder. Throws nothing: what fails now is tried at the next start. */
  async recover(dir: string): Promise<void> {
    for (const leftover of await leftovers(dir)) {
      try {
        for (const batch of batchesOf(leftover.decisions))
          this.tell(await this.send(bodyOf(leftover.spool, batch)))
        await discard(leftover)
      } catch (error) {
        if (!isFinal(error)) return
        await setAside(leftover)
      }
    }
  }

  /** Ends sending: tries for `wait_ms` at most, and leaves the rest in the spool. */
  async close(wait_ms: number): Promise<void> {
    clearTimeout(this.timer)
    let over = false
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, wait_ms)
    }).then(() => {
      over = true
    })
    while (this.spool.unsent.length > 0 && this.refusal === null && !over) {
      await Promise.race([this.run(), late])
      if (this.spool.unsent.length > 0) await Promise.race([sleep(this.retry_ms), late])
    }
    this.closed = true
    clearTimeout(timer)
    clearTimeout(this.timer)
  }

  private async sendAll(): Promise<void> {
    while (this.spool.unsent.length > 0) {
      const [batch = []] = batchesOf(this.spool.unsent)
      try {
        const answer = await this.send(bodyOf(this.spool.id, batch))
        this.retry_ms = FIRST_RETRY_MS
        this.tell(answer)
        await this.spool.forget(answer.next_seq)
      } catch (error) {
        if (isFinal(error)) this.refusal = new LocalRefused('record_refused', String(error))
        this.retry_ms = Math.min(MAX_RETRY_MS, this.retry_ms * 2)
        return
      }
    }
  }

  private tell({ recorded }: RecordedDecisions): void {
    for (const { agrees, seq, log_id } of recorded) if (!agrees) this.disagree({ seq, log_id })
  }
}

/** The same decisions in batches of one basis each. */
function* batchesOf(decisions: readonly Spooled[]): Generator<Spooled[]> {
  let batch: Spooled[] = []
  let bytes = 0
  for (const spooled of decisions) {
    const [first] = batch
    const full = batch.length >= BATCH || bytes + spooled.text.length > BATCH_BYTES
    if (first && (full || !isSame(first.basis, spooled.basis))) {
      yield batch
      batch = []
      bytes = 0
    }
    batch.push(spooled)
    bytes += spooled.text.length
  }
  if (batch.length > 0) yield batch
}

const isSame = (a: Spooled['basis'], b: Spooled['basis']): boolean =>
  a.lease === b.lease && a.manifest === b.manifest

function bodyOf(spool: string, batch: readonly Spooled[]): LocalDecisionsDto {
  const { manifest = '', lease = '' } = batch[0]?.basis ?? {}
  const decisions = batch.map(({ text }) => JSON.parse(text) as LocalDecisionDto)
  return { spool, manifest, lease, decisions }
}

/** Whether sending the same again cannot help. A key that is not valid any more may be replaced by another start. */
const isFinal = (error: unknown): boolean =>
  error instanceof APIError && (error.status === 409 || error.status === 413 || error.status === 422)

const sleep = (ms: number): Promise<void> =>
  new Promise((resolve) => {
    setTimeout(resolve, ms)
  })
