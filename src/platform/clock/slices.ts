import { setImmediate as othersHadTheirTurn } from 'node:timers/promises'

/** Longer than this nobody else is kept waiting: about what thirty ordinary requests take. */
const SLICE_MS = 2

/** Long work in slices, between which the process answers others. */
export class Slices {
  private began = performance.now()

  /** Said between two pieces of the work: lets others go first when this slice has been long enough. */
  async pause(): Promise<void> {
    if (performance.now() - this.began < SLICE_MS) return
    await othersHadTheirTurn()
    this.began = performance.now()
  }
}
