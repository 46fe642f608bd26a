import { parentPort, workerData } from 'node:worker_threads'
import { checkAlone } from '../../src/core/ledger/check-entry.js'
import { TOOLS } from './crypto.js'
import { decodeLines } from './lines.js'

/** The second pair of hands of `agentguard verify`: answers, for each piece of the file, whether its entries are right. */
const { origin } = workerData as { readonly origin: string }

parentPort?.on('message', (bytes: ArrayBuffer) => {
  const good = decodeLines(Buffer.from(bytes)).every((line) => checkAlone(line, origin, TOOLS))
  parentPort?.postMessage(good)
})
