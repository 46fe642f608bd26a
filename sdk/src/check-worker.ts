import { parentPort, workerData } from 'node:worker_threads'
import { EntryForms } from '../../src/core/ledger/entry-forms.js'
import { readPiece } from '../../src/core/ledger/pieces.js'
import { TOOLS } from './crypto.js'
import { decodeLines } from './lines.js'

/** The second pair of hands of `agentguard verify`: answers every piece of the file with what it says, in order. */
const { origin } = workerData as { readonly origin: string }
const forms = new EntryForms(TOOLS)

parentPort?.on('message', (bytes: ArrayBuffer) => {
  parentPort?.postMessage(readPiece(decodeLines(Buffer.from(bytes)), origin, TOOLS, forms))
})
