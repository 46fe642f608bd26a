import { Injectable, Logger } from '@nestjs/common'
import { TreeService } from '../ledger/tree.service.js'
import { Shutdown } from '../platform/http/shutdown.js'

/** How long an answer is held back for its receipt. A checkpoint is due within two seconds of an entry. */
const WAIT_MS = 2_000
const POLL_MS = 50
/** Answers that wait at once; beyond these nobody is made to wait. Each holds a connection. */
const MOST_WAITING = 512

interface Waiting {
  readonly org_id: string
  readonly id: string
  readonly index: number
  readonly done: (receipt: string | null) => void
}

/**
 * Receipts: the proof that an entry is in the log, given with the answer itself. The signing key is in one process
 * only, and often not in this one, so a receipt is not a promise signed here: it is the entry's tlog-proof under the
 * next checkpoint, which whoever signs publishes soon after. All that wait share one question to the database.
 */
@Injectable()
export class ReceiptsService {
  private readonly logger = new Logger(ReceiptsService.name)
  private readonly waiting = new Set<Waiting>()
  private timer: NodeJS.Timeout | undefined

  constructor(
    private readonly tree: TreeService,
    shutdown: Shutdown,
  ) {
    shutdown.onClose('work', 'receipts', () => {
      clearTimeout(this.timer)
      for (const { done } of this.waiting) done(null)
    })
  }

  /**
   * The tlog-proof of an entry that has just been appended, with the entry's bytes inside.
   * @returns null when no checkpoint covered it in time: nobody signs, the signer is behind, or too many wait
   */
  receipt(org_id: string, id: string, index: number): Promise<string | null> {
    if (this.waiting.size >= MOST_WAITING) return Promise.resolve(null)
    return new Promise((resolve) => {
      const deadline = setTimeout(() => done(null), WAIT_MS)
      const done = (receipt: string | null) => {
        clearTimeout(deadline)
        this.waiting.delete(waiting)
        resolve(receipt)
      }
      const waiting: Waiting = { org_id, id, index, done }
      this.waiting.add(waiting)
      this.schedule()
    })
  }

  private schedule(): void {
    this.timer ??= setTimeout(() => {
      void this.poll().finally(() => {
        this.timer = undefined
        if (this.waiting.size > 0) this.schedule()
      })
    }, POLL_MS)
  }

  private async poll(): Promise<void> {
    const waiting = [...this.waiting]
    const org_ids = [...new Set(waiting.map(({ org_id }) => org_id))]
    try {
      const signed = await this.tree.signedSizes(org_ids)
      for (const org_id of org_ids) {
        const size = signed.get(org_id) ?? 0
        const covered = waiting.filter((one) => one.org_id === org_id && one.index < size)
        if (covered.length === 0) continue
        const proofs = await this.tree.entryProofs(
          org_id,
          covered.map(({ id }) => id),
        )
        for (const [i, found] of proofs.entries()) {
          if (found.kind === 'proof') covered[i]?.done(found.proof)
        }
      }
    } catch (error) {
      // The decision is made, logged and to be answered all the same; its receipt can be fetched later.
      this.logger.warn({ err: error }, 'receipts could not be made')
    }
  }
}
