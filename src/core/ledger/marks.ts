import { encodeBase64 } from './base64.js'
import { type Checkpoint, verifyCheckpoint } from './checkpoint.js'
import type { Finding, FindingKind } from './findings.js'
import type { CompactTree } from './merkle.js'
import type { VerifierKey, VerifyEd25519 } from './note.js'
import { equalBytes } from './verify-merkle.js'

/** How far a signed statement reaches. */
export interface Mark {
  readonly size: number
  /** Base64. */
  readonly root: string
  /** Who signed, by key name. */
  readonly signers: readonly string[]
}

/** What a signed note is believed by. */
export interface NotePolicy {
  readonly origin: string
  readonly log_keys: readonly VerifierKey[]
  readonly witness_keys: readonly VerifierKey[]
  readonly quorum: number
}

/** Where a finding of the verifier goes, and those that it has so far. */
export interface Findings {
  readonly findings: readonly Finding[]
  readonly find: (
    kind: FindingKind,
    index: number | null,
    field: string | null,
    detail: string,
    line?: number | null,
  ) => void
}

interface Wanted extends Checkpoint {
  readonly signers: readonly string[]
  readonly older: boolean
}

/** The signed statements about a log that its tree has to lead to: the bundle's checkpoint, and those the caller holds. */
export class Marks {
  private readonly wanted: Wanted[] = []
  private readonly met: Wanted[] = []

  constructor(
    private readonly out: Findings,
    private readonly verify: VerifyEd25519,
  ) {}

  /** The bundle's checkpoint, when it verified and the tree led to it. */
  get checkpoint(): Mark | null {
    const own = this.met.find(({ older }) => !older)
    return own ? markOf(own) : null
  }

  /** The caller's checkpoints that the log was shown to begin with. */
  get older(): readonly Mark[] {
    return this.met.filter(({ older }) => older).map(markOf)
  }

  /** Takes a checkpoint as a root that the tree has to lead to. Witnesses are asked for of the bundle's own alone. */
  want(note: string, older: boolean, { origin, log_keys, witness_keys, quorum }: NotePolicy): void {
    const policy = { origin, log_keys, witness_keys, witnesses_needed: older ? 0 : quorum }
    const verified = verifyCheckpoint(note, policy, this.verify)
    if (verified.ok) {
      const { signers, ...checkpoint } = verified.value
      const names = [...new Set(signers.map(({ key }) => key.name))]
      this.wanted.push({ ...checkpoint, older, signers: names })
    } else if (older) {
      this.out.find('consistency', null, 'older checkpoint', verified.errors.detail, null)
    } else this.out.find('signature', null, 'checkpoint', verified.errors.detail)
  }

  /** Compares the root with what was signed for this size. */
  compare(tree: CompactTree, first: number): void {
    for (const mark of this.wanted) {
      if (mark.size !== tree.size) continue
      if (equalBytes(tree.root(), mark.root)) {
        this.met.push(mark)
        continue
      }
      // Entries that were found changed already explain it.
      if (this.out.findings.some(({ kind }) => kind === 'entry_changed')) continue
      const from = Math.max(first, ...this.met.map(({ size }) => size))
      const what = mark.older ? 'the checkpoint you hold' : "the bundle's checkpoint"
      this.out.find(
        mark.older ? 'consistency' : 'root',
        from,
        null,
        `the entries before ${mark.size} do not lead to the root of ${what}; the first that differs is ${from} or later`,
        null,
      )
    }
  }

  /**
   * What the signed statements were not compared with, and why.
   * @param first of the bundle's entries
   * @param next after the last of them
   * @param has_tree false when the tree of the entries cannot be computed
   */
  judge(first: number, next: number, has_tree: boolean, note: (text: string) => void): void {
    for (const mark of this.wanted) {
      if (this.met.includes(mark)) continue
      const what = mark.older ? 'The checkpoint you hold' : "The bundle's checkpoint"
      if (mark.size > next) {
        const kind = mark.older ? 'consistency' : 'root'
        const detail = `${what} covers ${mark.size} entries, the bundle ends at ${next}`
        if (this.out.findings.length === 0) this.out.find(kind, next, 'size', detail, null)
      } else if (mark.size < first) {
        note(`${what} covers ${mark.size} entries, which lie before this bundle.`)
      } else if (!has_tree) {
        note(`${what} could not be compared: the tree of the entries cannot be computed.`)
      }
    }
  }
}

const markOf = ({ size, root, signers }: Wanted): Mark => ({ size, root: encodeBase64(root), signers })
