import { Problem } from '../../core/problems.js'

/** So many at once. Who comes when none is free waits in line, but not for ever. */
export class Slots {
  private readonly line = new Set<() => void>()

  constructor(
    private free: number,
    private readonly timeout_ms: number,
  ) {}

  /**
   * Takes one.
   * @returns gives it back
   * @throws Problem `not_ready` when none became free in time
   */
  async take(): Promise<() => void> {
    if (this.free > 0) this.free--
    else await this.turn()
    let held = true
    return () => {
      if (!held) return
      held = false
      const [next] = this.line
      if (next) next()
      else this.free++
    }
  }

  private turn(): Promise<void> {
    return new Promise((resolve, reject) => {
      const called = () => {
        this.line.delete(called)
        clearTimeout(timer)
        resolve()
      }
      const timer = setTimeout(() => {
        this.line.delete(called)
        const cause = new Error(`no connection of the control plane was free in ${this.timeout_ms} ms`)
        const detail = 'The database is too busy. Try again.'
        reject(new Problem('not_ready', { detail, retry_after: 1, cause }))
      }, this.timeout_ms)
      this.line.add(called)
    })
  }
}
