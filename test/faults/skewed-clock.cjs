// A wrong clock, loaded with --require: off by SKEW_MS from the start, and by another JUMP_MS after every SIGUSR2.
const RealDate = Date
let skew_ms = Number(process.env.SKEW_MS ?? 0)
process.on('SIGUSR2', () => (skew_ms += Number(process.env.JUMP_MS ?? 0)))

globalThis.Date = class extends RealDate {
  constructor(...parts) {
    if (parts.length === 0) super(RealDate.now() + skew_ms)
    else super(...parts)
  }

  static now() {
    return RealDate.now() + skew_ms
  }
}
