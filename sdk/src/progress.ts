const EVERY_MS = 100
const WIDTH = 30

/** A bar on standard error, where that is a terminal; otherwise nothing. */
export class Progress {
  private last = 0

  constructor(private readonly what: string) {}

  /** @param share from 0 to 1; null when the whole is not known */
  show(share: number | null, count: string): void {
    if (!process.stderr.isTTY) return
    const now = Date.now()
    if (now - this.last < EVERY_MS) return
    this.last = now
    const done = share === null ? 0 : Math.round(Math.min(share, 1) * WIDTH)
    const bar =
      share === null ? '' : `[${'='.repeat(done)}${' '.repeat(WIDTH - done)}] ${Math.floor(share * 100)} % · `
    process.stderr.write(`\r${this.what} ${bar}${count}\u001b[K`)
  }

  clear(): void {
    if (process.stderr.isTTY) process.stderr.write('\r\u001b[K')
  }
}
