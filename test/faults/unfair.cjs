// Control of the fair share, loaded with --require: every request is worked on as it comes, and all organizations
// share one queue.
const path = require('node:path')

const built = (file) => require(path.join(process.env.AGENTGUARD_BUILD, 'src', file))
const { FairQueue } = built('ledger/fair-queue.js')
const { Turn, Turns } = built('platform/throttling/turns.js')

Turns.prototype.take = () => new Turn(() => {})
const { admits } = FairQueue.prototype
FairQueue.prototype.admits = function (...asked) {
  this.limits = { ...this.limits, fair: false }
  return admits.apply(this, asked)
}
