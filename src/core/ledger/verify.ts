/**
 * Checks a bundle line by line, without the service that wrote it: form, hashes, tree, signatures, columns, payloads,
 * policies, and what must hold between entries. Pure: hashing and Ed25519 come in as arguments. Memory grows with
 * agents, keys and policies, not with entries.
 */
import { decodeBase64, encodeBase64 } from './base64.js'
import {
  BUNDLE_FORMAT,
  type BundleLine,
  type EndLine,
  type EntryLine,
  type ExpiredLine,
  type ManifestLine,
  parseLine,
  type PolicyLine,
} from './bundle.js'
import { checkEntry, type CheckedEntry, checkPolicies, hexOf, type HashTools } from './check-entry.js'
import { Erasures } from './erasures.js'
import type { Finding, FindingKind } from './findings.js'
import { type Mark, Marks } from './marks.js'
import { CompactTree, HASH_BYTES } from './merkle.js'
import { parseVerifierKey, type VerifierKey, type VerifyEd25519 } from './note.js'
import type { Followed, Piece, Run } from './pieces.js'
import { logOf, type RuledEntry } from './read-entry.js'
import { LogRules } from './rules-of-log.js'

export interface VerifyTools extends HashTools {
  readonly verify: VerifyEd25519
}

export interface VerifyOptions {
  /** Keys of the log that the caller trusts. Without any the bundle's own keys are used, and the verdict says so. */
  readonly keys?: readonly VerifierKey[]
  /** Witnesses that the caller trusts, and how many of them must have cosigned the bundle's checkpoint. */
  readonly witness_keys?: readonly VerifierKey[]
  readonly quorum?: number
  /** Older checkpoints (signed notes) of the same log that the caller holds. */
  readonly older?: readonly string[]
  /** Findings that are kept; the others are counted. Default 20. */
  readonly most_findings?: number
}

export interface Verdict {
  readonly valid: boolean
  readonly org_id: string | null
  readonly origin: string | null
  /** The entries first ≤ index < end were looked at. */
  readonly first: number
  readonly end: number
  readonly entries: number
  readonly decisions: { readonly allow: number; readonly deny: number; readonly pending: number }
  readonly policies: number
  /** Entries whose payload has been erased. */
  readonly redacted: number
  /** Entries that have reached the end of their retention, of which only the hash is left. */
  readonly expired: number
  /** Base64 of the root over the entries 0 ≤ index < end; null when it cannot be computed. */
  readonly root: string | null
  /** The bundle's checkpoint, when it verified and the tree led to it. */
  readonly checkpoint: Mark | null
  /** Entries behind the checkpoint: in the log, and not signed yet. */
  readonly unsigned: number
  /** Whether the keys came from the caller. */
  readonly keys: 'given' | 'bundle' | 'none'
  /** Older checkpoints that the log was shown to begin with. */
  readonly older: readonly Mark[]
  readonly findings: readonly Finding[]
  /** Findings beyond those listed. */
  readonly more_findings: number
  /** What was not checked, and why: not a fault of the bundle, but the reader should know. */
  readonly notes: readonly string[]
}

/** A line that was read, for whoever does more with the same bundle (replay). */
export type Checked =
  | { readonly line: Exclude<BundleLine, EntryLine> }
  | { readonly line: EntryLine; readonly entry: CheckedEntry }

const MOST_FINDINGS = 20

/**
 * @example
 * const verifier = new BundleVerifier({ sha256, utf8, verify }, { keys })
 * for (const line of lines) verifier.line(line)
 * const verdict = verifier.finish()
 */
export class BundleVerifier {
  private readonly findings: Finding[] = []
  private readonly notes: string[] = []
  private readonly digests = new Set<string>()
  private readonly bundleKeys: VerifierKey[] = []
  private readonly decisions = { allow: 0, deny: 0, pending: 0 }
  private more = 0
  private lines = 0
  private entries = 0
  private redacted = 0
  private gone = 0
  private manifest: ManifestLine | null = null
  private edge: readonly Uint8Array[] | null = null
  private begun = false
  private checkpointSeen = false
  private end: EndLine | null = null
  /** Null before the first entry, and as soon as one is missing: then there is no tree to speak of. */
  private tree: CompactTree | null = null
  private fallen = false
  private rules: LogRules | null = null
  private readonly erasures = new Erasures()
  private readonly expiry = new Erasures()
  private next = 0
  /** After an index that was not the expected one: others that may follow without another finding. */
  private resume: readonly number[] = []

  private readonly marks: Marks

  constructor(
    private readonly tools: VerifyTools,
    private readonly options: VerifyOptions = {},
  ) {
    const { findings } = this
    this.marks = new Marks({ findings, find: (...finding) => this.find(...finding) }, tools.verify)
  }

  /** Entries read so far. */
  get count(): number {
    return this.entries
  }

  /** The log, once the manifest was read. */
  get origin(): string | null {
    return this.manifest?.origin ?? null
  }

  /** Entries that the manifest announces. */
  get expected(): number {
    return this.manifest ? this.manifest.end - this.manifest.first : 0
  }

  /** Reads the next line, without its newline. Returns what it holds unless that cannot be read. */
  line(text: string): Checked | null {
    this.lines++
    const parsed = parseLine(text)
    if (!parsed.ok) {
      const { field, detail } = parsed.errors
      this.find('malformed', this.manifest ? this.next : null, field, detail)
      // The line may have been an entry, or not.
      this.resume = [this.next, this.next + 1]
      this.fell()
      return null
    }
    const line = parsed.value
    if (!this.inOrder(line)) return null
    if (line.kind === 'entry') {
      const entry = this.entry(line)
      return entry && { line, entry }
    }
    this.other(line)
    return { line }
  }

  /**
   * Reads the next lines, of which `readPiece` has checked what concerns each alone. As soon as anything is wrong it is
   * false, and the finding need not be the one that `line` would have begun with: read the bundle again, line by line.
   */
  piece(parts: Piece): boolean {
    for (const part of parts) {
      if (typeof part === 'string') this.line(part)
      else this.run(part)
      if (this.findings.length > 0) return false
    }
    return true
  }

  /** The verdict, after the last line. */
  finish(): Verdict {
    const { manifest, end, tree } = this
    if (!manifest) this.find('malformed', null, null, 'there is no manifest: this is no bundle', null)
    else if (!end) this.find('truncated', this.next, null, 'the line "end" is missing: the bundle is cut off')
    else if (this.next < manifest.end)
      this.find('truncated', this.next, 'end', `the entries end at ${this.next}, not at ${manifest.end}`)
    if (
      end &&
      (end.entries !== this.entries || end.policies !== this.digests.size || end.lines !== this.lines)
    )
      this.find('truncated', null, 'end', 'the line "end" counts other lines than there are')
    if (manifest) {
      this.judgeMarks(manifest)
      this.judgeErasures(manifest)
    }
    const { checkpoint, older } = this.marks
    return {
      valid: this.findings.length === 0,
      org_id: manifest?.org_id ?? null,
      origin: manifest?.origin ?? null,
      first: manifest?.first ?? 0,
      end: this.next,
      entries: this.entries,
      decisions: { ...this.decisions },
      policies: this.digests.size,
      redacted: this.redacted,
      expired: this.gone,
      root: tree ? encodeBase64(tree.root()) : null,
      checkpoint,
      unsigned: Math.max(0, this.next - Math.max(checkpoint?.size ?? 0, manifest?.first ?? 0)),
      keys: this.options.keys?.length ? 'given' : this.bundleKeys.length > 0 ? 'bundle' : 'none',
      older,
      findings: [...this.findings],
      more_findings: this.more,
      notes: [...this.notes],
    }
  }

  /** Whether a line may stand here: manifest, keys, checkpoint, edge, then policies and entries, end. */
  private inOrder({ kind }: Pick<BundleLine, 'kind'>): boolean {
    const begin = kind === 'policy' || kind === 'entry' || kind === 'expired' || kind === 'end'
    if (kind !== 'manifest' && !this.manifest) {
      if (this.lines === 1) this.find('malformed', null, 'kind', 'a bundle begins with its manifest')
      return false
    }
    const late =
      this.end !== null ||
      (kind === 'manifest' && this.manifest !== null) ||
      (this.begun && !begin) ||
      (kind === 'key' && this.checkpointSeen) ||
      (kind === 'checkpoint' && this.checkpointSeen) ||
      (kind === 'edge' && this.edge !== null)
    if (late) {
      const what = this.end ? 'there are lines after the line "end"' : `a line "${kind}" cannot stand here`
      this.find('malformed', this.begun ? this.next : null, 'kind', what)
      return false
    }
    if (begin && !this.begun) this.begin()
    return true
  }

  private other(line: Exclude<BundleLine, EntryLine>): void {
    switch (line.kind) {
      case 'manifest':
        return this.open(line)
      case 'key': {
        const key = parseVerifierKey(this.tools.sha256, line.vkey)
        if (key.ok) this.bundleKeys.push(key.value)
        else this.find('malformed', null, 'vkey', key.errors.detail)
        return
      }
      case 'checkpoint':
        this.checkpointSeen = true
        return this.want(line.note, false)
      case 'edge': {
        const hashes = line.hashes.map(decodeBase64)
        this.edge = hashes.filter((hash) => hash !== undefined)
        return
      }
      case 'policy':
        return this.policy(line)
      case 'expired':
        if (this.manifest) this.expired(line, this.manifest)
        return
      case 'end':
        this.end = line
    }
  }

  private open(manifest: ManifestLine): void {
    this.manifest = manifest
    this.next = manifest.first
    const { format, org_id, origin, first, end } = manifest
    if (format !== BUNDLE_FORMAT) {
      this.find(
        'malformed',
        null,
        'format',
        `this program reads ${BUNDLE_FORMAT}, not ${format.slice(0, 64)}`,
      )
    }
    if (!logOf(origin).endsWith(`/${org_id}`) || logOf(origin) === origin) {
      this.find('malformed', null, 'origin', 'the origin is not <installation>/<org_id>/e<epoch>')
    }
    if (end < first) this.find('malformed', null, 'end', 'the manifest ends before it begins')
  }

  /** The first line of the content: now keys and checkpoints are known. */
  private begin(): void {
    this.begun = true
    const { manifest, edge } = this
    if (!manifest) return
    this.rules = new LogRules(manifest.first === 0)
    for (const note of this.options.older ?? []) this.want(note, true)
    if (manifest.first > 0 && !edge) {
      this.notes.push(
        `The bundle begins at entry ${manifest.first} and has no edge, so no root can be computed.`,
      )
      return
    }
    if (this.fallen) return
    try {
      this.tree = new CompactTree(this.tools.sha256, manifest.first, edge ?? [])
    } catch {
      this.find(
        'malformed',
        null,
        'edge',
        `the hashes are not the edge of a tree of ${manifest.first} entries`,
      )
    }
    this.compareRoot()
  }

  private want(note: string, older: boolean): void {
    const { manifest, options, bundleKeys } = this
    if (!manifest) return
    this.marks.want(note, older, {
      origin: manifest.origin,
      log_keys: options.keys?.length ? options.keys : bundleKeys,
      witness_keys: options.witness_keys ?? [],
      quorum: options.quorum ?? 0,
    })
  }

  private policy({ sha256, document }: PolicyLine): void {
    const bytes = this.tools.utf8(document)
    if (hexOf(this.tools.sha256(bytes)) !== sha256)
      this.find(
        'policy',
        this.next,
        'sha256',
        `the document is not the one of the digest ${sha256.slice(0, 64)}`,
      )
    if (this.digests.has(sha256))
      this.find('malformed', this.next, 'sha256', `the policy ${sha256.slice(0, 64)} is there twice`)
    this.digests.add(sha256)
  }

  private entry(line: EntryLine): CheckedEntry | null {
    const { manifest } = this
    if (!manifest) return null
    this.take(line, manifest)
    const checked = checkEntry(line, manifest.origin, this.digests, this.tools)
    for (const { kind, field, detail } of checked.faults) this.find(kind, line.index, field, detail)
    const redacted = line.payload !== undefined && 'redacted' in line.payload
    this.follow(line.index, decodeBase64(line.leaf), { ...checked, redacted })
    return checked
  }

  private run({ first, distinct, which, leaves }: Run): void {
    const { manifest } = this
    if (!manifest || !this.inOrder({ kind: 'entry' })) return
    // Our own `readPiece` wrote it.
    const kinds = JSON.parse(distinct) as readonly Followed[]
    for (const { entry } of kinds)
      checkPolicies(entry, this.digests, (kind, field, detail) => this.find(kind, first, field, detail))
    for (const [i, kind] of which.entries()) {
      const followed = kinds[kind]
      if (!followed) throw new RangeError('a run names an entry that it does not have')
      this.lines++
      this.take({ index: first + i }, manifest)
      this.follow(first + i, leaves.subarray(i * HASH_BYTES, (i + 1) * HASH_BYTES), followed)
    }
  }

  /** What concerns an entry and those before it. */
  private follow(
    index: number,
    leaf: Uint8Array | undefined,
    {
      entry,
      payload,
      redacted,
    }: Pick<CheckedEntry, 'payload'> & { entry: RuledEntry | null; redacted: boolean },
  ): void {
    this.entries++
    if (leaf?.length === HASH_BYTES) this.tree?.append(leaf)
    if (entry) {
      const { effect } = entry.decision ?? {}
      if (entry.type === 'decision' && effect) this.decisions[effect]++
      for (const { kind, field, detail } of this.rules?.check(index, entry, payload) ?? [])
        this.find(kind, index, `entry.${field}`, detail)
    }
    this.trackErasure(index, entry, redacted)
    this.compareRoot()
  }

  private trackErasure(index: number, entry: RuledEntry | null, redacted: boolean): void {
    const agent_id = entry?.subject?.agent_id ?? null
    if (redacted) {
      this.redacted++
      this.erasures.lost(index, agent_id)
    }
    if (!entry?.redaction) return
    const ledger = entry.event === 'entries.expired' ? this.expiry : this.erasures
    ledger.recorded(entry.redaction)
  }

  /** What is gone must have been erased: in a bundle that reaches the end of the log, an entry of it says so. */
  private judgeErasures({ end, size }: ManifestLine): void {
    const judge = (kind: FindingKind, index: number | null, field: string, what: string) => {
      if (index === null) return
      const detail = `${what} ${index} is gone, and no entry of the bundle records why`
      if (size === end) this.find(kind, index, field, detail, null)
      else this.notes.push(`${detail}; the log goes on after the bundle, and may record it there.`)
    }
    judge('unrecorded_erasure', this.erasures.first_unrecorded, 'payload', 'The payload of entry')
    judge('index', this.expiry.first_unrecorded, 'index', 'Entry')
  }

  /** Entries whose time was up: their hashes stand in for them, and what they said is not known any more. */
  private expired({ from, leaves }: ExpiredLine, manifest: ManifestLine): void {
    const hashes = decodeBase64(leaves)
    if (!hashes || hashes.length === 0 || hashes.length % HASH_BYTES !== 0)
      return this.find('malformed', from, 'leaves', 'these are no leaf hashes in base64')
    for (let at = 0; at < hashes.length; at += HASH_BYTES) {
      const index = from + at / HASH_BYTES
      this.take({ index }, manifest)
      this.gone++
      this.expiry.lost(index, null)
      this.tree?.append(hashes.subarray(at, at + HASH_BYTES))
      this.compareRoot()
    }
    this.rules = new LogRules(false)
  }

  /** Indexes are dense from the manifest's first. */
  private take({ index }: Pick<EntryLine, 'index'>, { end }: ManifestLine): void {
    const { next } = this
    if (index !== next && !this.resume.includes(index)) {
      const what = index > next ? 'is missing' : 'is not here'
      this.find('index', next, 'index', `entry ${next} ${what}: the line has index ${index}`)
      this.resume = [next + 1, index + 1]
      this.fell()
    } else {
      if (index !== next) this.fell()
      this.resume = []
      if (index >= end) this.find('index', index, 'index', `the manifest ends before entry ${end}`)
    }
    this.next = index + 1
  }

  private fell(): void {
    this.fallen = true
    this.tree = null
  }

  private compareRoot(): void {
    if (this.tree) this.marks.compare(this.tree, this.manifest?.first ?? 0)
  }

  private judgeMarks({ first }: ManifestLine): void {
    this.marks.judge(first, this.next, this.tree !== null, (text) => void this.notes.push(text))
    if (this.checkpointSeen) return
    const detail = 'The bundle has no checkpoint: nothing in it is signed.'
    if (this.options.keys?.length || this.options.quorum)
      this.find('signature', null, 'checkpoint', detail, null)
    else this.notes.push(detail)
  }

  private find(
    kind: FindingKind,
    index: number | null,
    field: string | null,
    detail: string,
    line: number | null = this.lines,
  ): void {
    if (this.findings.length >= (this.options.most_findings ?? MOST_FINDINGS)) this.more++
    else this.findings.push({ kind, index, line, field, detail })
  }
}
