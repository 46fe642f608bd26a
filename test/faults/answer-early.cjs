// Control of the durability tests, loaded with --require: answers before the commit, as a faster product would.
// It lives here and not behind a switch of the product, where somebody could flip it.
const path = require('node:path')
const { AppendQueue } = require(path.join(process.env.AGENTGUARD_BUILD, 'src', 'ledger', 'append-queue.js'))

const append = AppendQueue.prototype.append
AppendQueue.prototype.append = function (rows) {
  append.call(this, rows).catch(() => {})
  return Promise.resolve({ kind: 'appended', index: 0 })
}
