// An entry that PostgreSQL refuses, loaded with --require. No request is known to make one; should a request ever, it
// must fail alone and not take the batch with it that it happened to be in.
const path = require('node:path')
const { AppendQueue } = require(path.join(process.env.AGENTGUARD_BUILD, 'src', 'ledger', 'append-queue.js'))

const append = AppendQueue.prototype.append
AppendQueue.prototype.append = function (rows, began) {
  const poisoned = rows.map((row) => (row.entry.includes('poison:') ? { ...row, id: 'not-a-uuid' } : row))
  return append.call(this, poisoned, began)
}
