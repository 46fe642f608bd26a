import { Injectable, Logger } from '@nestjs/common'
import {
  formatSignature,
  parseNote,
  parseSignatures,
  parseVerifierKey,
  type VerifierKey,
  verifyNote,
} from '../core/ledger/note.js'
import { parseDecimal } from '../core/ledger/checkpoint.js'
import { formatAddCheckpoint } from '../core/ledger/witness.js'
import { Settings } from '../platform/config/settings.js'
import { Database } from '../platform/database/database.service.js'
import type { NewCheckpoint } from './checkpoints.queries.js'
import { verifyEd25519 } from './signing.js'
import { consistencyHashes } from './tree-proofs.js'
import { sha256 } from './tree-tiles.js'

/** A witness that failed is left alone for this long, so that it does not hold back every round. */
const AWAY_MS = 10_000
/** Requests to one witness at once. */
const AT_ONCE = 16
const MAX_ANSWER_BYTES = 16 * 1024

export type Cosignable = NewCheckpoint & { readonly origin: string }

interface Witness {
  readonly url: string
  readonly key: VerifierKey
  /** Size that it cosigned last, as far as this process knows. Wrong or missing costs one more request. */
  readonly sizes: Map<string, number>
  /** Logs that it refuses, so that each is said once. */
  readonly refuses: Set<string>
  away_until: number
}

/**
 * Lets the witnesses of `LEDGER_WITNESSES` cosign checkpoints (C2SP tlog-witness) before these are published: whoever
 * demands cosignatures is then never shown a history that others are not. All are asked at once, within one deadline;
 * who is down, slow or answers nonsense is left out and said so. Only the operator's own settings name addresses.
 */
@Injectable()
export class Witnesses {
  private readonly logger = new Logger(Witnesses.name)
  private readonly witnesses: readonly Witness[]
  private lacking = false

  constructor(
    private readonly database: Database,
    private readonly settings: Settings,
  ) {
    this.witnesses = settings.ledger_witnesses.map(({ url, vkey }) => {
      const key = parseVerifierKey(sha256, vkey)
      if (!key.ok) throw new Error(`LEDGER_WITNESSES: ${key.errors.detail}`)
      return { url, key: key.value, sizes: new Map(), refuses: new Set(), away_until: 0 }
    })
  }

  /** The checkpoints that may be published, with the cosignatures that came; those short of the quorum are not among them. */
  async cosign<T extends Cosignable>(checkpoints: readonly T[]): Promise<T[]> {
    if (this.witnesses.length === 0) return [...checkpoints]
    const signal = AbortSignal.timeout(this.settings.ledger_witness_timeout_ms)
    const lines = new Map(checkpoints.map((checkpoint) => [checkpoint, [] as string[]]))
    await Promise.all(this.witnesses.map((witness) => this.askAll(witness, lines, signal)))
    const quorum = this.settings.ledger_witness_quorum
    const enough = checkpoints.filter((checkpoint) => (lines.get(checkpoint)?.length ?? 0) >= quorum)
    this.say(checkpoints.length - enough.length)
    return enough.map((checkpoint) => ({
      ...checkpoint,
      note: checkpoint.note + (lines.get(checkpoint) ?? []).join(''),
    }))
  }

  /** Asks one witness about all checkpoints; the first failure ends it, for now. */
  private async askAll(
    witness: Witness,
    lines: ReadonlyMap<Cosignable, string[]>,
    signal: AbortSignal,
  ): Promise<void> {
    if (performance.now() < witness.away_until) return
    const waiting = [...lines.keys()]
    const work = async () => {
      for (let next = waiting.shift(); next; next = waiting.shift()) {
        const line = await this.ask(witness, next, signal)
        if (line !== null) lines.get(next)?.push(line)
      }
    }
    try {
      await Promise.all(Array.from({ length: Math.min(AT_ONCE, waiting.length) }, work))
    } catch (error) {
      waiting.length = 0
      witness.away_until = performance.now() + AWAY_MS
      this.logger.warn(
        { err: error, witness: witness.key.name },
        'a witness cannot be asked; left out for now',
      )
    }
  }

  /** The witness's cosignature line; null when it refuses this checkpoint. */
  private async ask(witness: Witness, checkpoint: Cosignable, signal: AbortSignal): Promise<string | null> {
    const { origin, size } = checkpoint
    const known = witness.sizes.get(origin) ?? 0
    let answer = await this.send(witness, checkpoint, Math.min(known, size), signal)
    if (answer.status === 409) {
      const has = parseDecimal(answer.text.trimEnd())
      if (has === undefined || has > size || has === known) return this.refused(witness, checkpoint, answer)
      answer = await this.send(witness, checkpoint, has, signal)
    }
    if (answer.status !== 200) return this.refused(witness, checkpoint, answer)
    const line = lineOf(checkpoint.note, answer.text, witness.key)
    if (line === null) return this.refused(witness, checkpoint, answer)
    witness.sizes.set(origin, size)
    witness.refuses.delete(origin)
    return line
  }

  private async send(
    { url }: Witness,
    { org_id, epoch, size, note }: Cosignable,
    old_size: number,
    signal: AbortSignal,
  ): Promise<{ status: number; text: string }> {
    const proof = await this.database.withOrgClient({ org_id }, (client) =>
      consistencyHashes(client, org_id, epoch, old_size, size),
    )
    const response = await fetch(`${url}/add-checkpoint`, {
      method: 'POST',
      headers: { 'Content-Type': 'text/plain; charset=utf-8' },
      body: formatAddCheckpoint({ old_size, proof, checkpoint: note }),
      redirect: 'error', // another address would be one that nobody configured
      signal,
    })
    return { status: response.status, text: await shortText(response) }
  }

  /** The witness has another history, or does not know this log. */
  private refused(
    { key, sizes, refuses }: Witness,
    { origin, size }: Cosignable,
    { status, text }: { readonly status: number; readonly text: string },
  ): null {
    sizes.delete(origin)
    if (refuses.has(origin)) return null
    refuses.add(origin)
    const answer = text.slice(0, 200)
    this.logger.error({ witness: key.name, origin, size, status, answer }, 'a witness refuses a checkpoint')
    return null
  }

  private say(short: number): void {
    const lacking = short > 0
    if (lacking && !this.lacking)
      this.logger.error({ logs: short }, 'too few witnesses have cosigned: checkpoints are not published')
    if (!lacking && this.lacking) this.logger.log('enough witnesses cosign again')
    this.lacking = lacking
  }
}

/** The witness's own line when it verifies on this note; null otherwise. Lines of others are dropped, as the spec says. */
function lineOf(note: string, lines: string, key: VerifierKey): string | null {
  const signatures = parseSignatures(lines)
  const parsed = parseNote(note)
  if (!signatures.ok || !parsed.ok) return null
  const own = signatures.value.find(({ name, id }) => name === key.name && id === key.id)
  if (!own) return null
  const verified = verifyNote({ text: parsed.value.text, signatures: [own] }, [key], verifyEd25519)
  return verified.ok ? formatSignature(own) : null
}

async function shortText(response: Response): Promise<string> {
  const chunks: Uint8Array[] = []
  let size = 0
  const body: AsyncIterable<Uint8Array> | null = response.body
  if (!body) return ''
  for await (const chunk of body) {
    size += chunk.length
    if (size > MAX_ANSWER_BYTES) throw new Error('the answer is larger than 16 KiB')
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString()
}
