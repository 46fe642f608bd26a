import { hash } from 'node:crypto'
import { parseVerifierKey } from '../../core/ledger/note.js'
import type { EnvironmentReader } from './environment.js'
import type { WitnessAddress } from './settings.js'

const NAME = 'LEDGER_WITNESSES'
const RULE = 'must be a comma list of <URL> <verifier key>, as `agentguard witness` prints them'

/** `LEDGER_WITNESSES` and what goes with it. */
export function witnesses(reader: EnvironmentReader) {
  const ledger_witnesses = reader.list(NAME, []).flatMap((text) => {
    const witness = readWitness(text)
    if (!witness) reader.refuse(NAME, text, RULE)
    return witness ?? []
  })
  const keys = new Set(ledger_witnesses.map(({ vkey }) => vkey))
  if (keys.size < ledger_witnesses.length) reader.refuse(NAME, [...keys].join(), 'names a witness twice')
  return {
    ledger_witnesses,
    ledger_witness_quorum: reader.integer('LEDGER_WITNESS_QUORUM', 0, 0, keys.size),
    ledger_witness_timeout_ms: reader.integer('LEDGER_WITNESS_TIMEOUT_MS', 1_000, 100, 10_000),
  }
}

/** One witness; null when it is not spelt as one. Only a key that cosigns is a witness's. */
function readWitness(text: string): WitnessAddress | null {
  const [address = '', vkey = '', ...more] = text.split(/\s+/)
  const url = URL.parse(address)
  if (!url || !/^https?:$/.test(url.protocol) || url.username || url.password || url.search || url.hash)
    return null
  const key = parseVerifierKey((bytes) => hash('sha256', bytes, 'buffer'), vkey)
  if (more.length > 0 || !key.ok || key.value.type !== 'cosignature') return null
  return { url: url.href.replace(/\/+$/, ''), vkey }
}
