import { hash } from 'node:crypto'
import { Injectable } from '@nestjs/common'
import type { PoolClient } from 'pg'
import { BUNDLE_FORMAT, type BundleLine, type EntryLine, formatLine } from '../core/ledger/bundle.js'
import { canonicalize, type Json } from '../core/ledger/canonical.js'
import type { Entry } from '../core/ledger/entry.js'
import { HASH_BYTES, leafHash, rangeNodes } from '../core/ledger/merkle.js'
import { type Tile, TILE_WIDTH, tileNodes, tilesOfPlan } from '../core/ledger/tiles.js'
import { Problem } from '../core/problems.js'
import { LedgerService, type StoredPayload } from '../ledger/ledger.service.js'
import { type Principal, teamOf } from '../platform/access/principal.js'
import { assertReaches } from '../platform/access/scope.js'
import { Clock } from '../platform/clock/clock.js'
import { Database } from '../platform/database/database.service.js'
import { insist, PATIENT } from '../platform/database/insist.js'
import { errorField } from '../platform/http/error-code.js'
import { Shutdown } from '../platform/http/shutdown.js'
import { csvRow } from './csv.js'
import { toLogEntry } from './log-entry.js'
import type { LogEntry } from './logs.dto.js'
import type { ExportFormat, ExportLogsQuery } from './logs.export.dto.js'
import * as queries from './logs.export.queries.js'

export interface Export {
  readonly file_name: string
  readonly media_type: string
  /** The text in pieces of at most 256 entries; nothing is read before it is asked for. */
  readonly chunks: AsyncGenerator<string>
}

/** What is exported: first ≤ index < end of one log. */
interface Range extends queries.LogState {
  readonly first: number
  readonly end: number
}

const MEDIA_TYPES: Readonly<Record<ExportFormat, string>> = {
  ndjson: 'application/x-ndjson',
  json: 'application/json; charset=utf-8',
  csv: 'text/csv; charset=utf-8; header=present',
}

/** Entries of everybody's; the others need `config-logs:read`. */
const ORDINARY = ['decision', 'action'] as const

const CSV_COLUMNS = [
  'log_id', 'index', 'type', 'event', 'source', 'agent_id', 'timestamp', 'action', 'resource', 'arguments', 'context',
  'allowed', 'result', 'metadata', 'request_id', 'decision_id', 'status', 'code', 'reason', 'mismatch', 'actor',
  'change', 'before', 'after', 'redacted',
] as const satisfies readonly (keyof LogEntry)[] // prettier-ignore

/**
 * The log as a file, oldest entry first. Read in chunks, each in a transaction of its own: memory and locks do not
 * grow with the log. What is appended meanwhile is not part of it.
 */
@Injectable()
export class LogsExportService {
  constructor(
    private readonly database: Database,
    private readonly ledger: LedgerService,
    private readonly clock: Clock,
    private readonly shutdown: Shutdown,
  ) {}

  /**
   * Who is held to a team gets the entries about its agents, and no bundle.
   * @throws Problem `forbidden` for a bundle without `config-logs:read`: one with holes would prove nothing
   */
  async export(principal: Principal, query: ExportLogsQuery): Promise<Export> {
    const format = query.format ?? 'ndjson'
    const everything = principal.permissions.has('config-logs:read')
    if (format === 'ndjson' && !everything) {
      throw new Problem('forbidden', {
        detail:
          'A bundle holds every entry, so it needs the permission config-logs:read. format=csv does not.',
      })
    }
    if (format === 'ndjson') assertReaches(principal, null)
    const { org_id } = principal
    const range = await this.database.withOrgClient(principal, (client) => rangeOf(client, org_id, query))
    const made_at = new Date(this.clock.now()).toISOString()
    const stamp = made_at.slice(0, 19).replaceAll(/[-:]/g, '')
    return {
      file_name: `agentguard-${org_id}-${stamp}.${format}`,
      media_type: MEDIA_TYPES[format],
      chunks:
        format === 'ndjson'
          ? this.bundle(org_id, range, made_at)
          : this.list(org_id, range, format, everything ? [] : ORDINARY, teamOf(principal)),
    }
  }

  /** The bundle of the entries first ≤ index < end, for whoever keeps it instead of them. */
  async *bundleOf(org_id: string, first: number, end: number): AsyncGenerator<string> {
    const state = await this.database.withOrgClient({ org_id }, (client) => queries.selectLog(client, org_id))
    if (!state) throw new Problem('organization_not_found')
    yield* this.bundle(org_id, { ...state, first, end }, new Date(this.clock.now()).toISOString())
  }

  /** The bundle of core/ledger/bundle.ts. */
  private async *bundle(org_id: string, range: Range, made_at: string): AsyncGenerator<string> {
    const { origin, first, end } = range
    const written = { lines: 0, entries: 0, policies: new Set<string>() }
    const write = (lines: readonly BundleLine[]): string => {
      written.lines += lines.length
      return lines.map((line) => `${formatLine(line)}\n`).join('')
    }
    const head: BundleLine[] = [
      { kind: 'manifest', format: BUNDLE_FORMAT, org_id, origin, first, end, size: range.size, made_at },
      ...(await this.read(org_id, (client) => statements(client, org_id, range))),
    ]
    yield write(head)
    for (let from = first; from < end;) {
      const to = Math.min(end, TILE_WIDTH * (Math.floor(from / TILE_WIDTH) + 1))
      const lines = await this.chunk(org_id, range, from, to, written.policies)
      written.entries += lines.filter(({ kind }) => kind === 'entry').length
      yield write(lines)
      from = to
    }
    const { entries, policies, lines } = written
    yield write([{ kind: 'end', entries, policies: policies.size, lines: lines + 1 }])
  }

  /** The lines of the entries from ≤ index < to, which lie under one tile. */
  private async chunk(
    org_id: string,
    range: Range,
    from: number,
    to: number,
    written: Set<string>,
  ): Promise<BundleLine[]> {
    const { lines, fresh } = await this.read(org_id, async (client) => {
      // Of an attempt that failed nothing is written.
      const fresh = new Set<string>()
      const rows = await queries.selectEntries(client, org_id, from, to, [], null)
      const tile = await queries.selectTile(client, org_id, range.epoch, 0, Math.floor(from / TILE_WIDTH))
      const lines: BundleLine[] = []
      // An entry whose time was up: its place is taken by what is left of it.
      const expired = rows.length < to - from ? await queries.selectExpired(client, org_id, from, to) : []
      const pushExpired = (before: number) => {
        const next = from + lines.reduce((sum, line) => sum + coveredBy(line), 0)
        const leaves = expired.filter(({ index }) => index >= next && index < before).map(({ leaf }) => leaf)
        if (leaves.length > 0)
          lines.push({ kind: 'expired', from: next, leaves: Buffer.concat(leaves).toString('base64') })
      }
      for (const row of rows) {
        if (expired.length > 0) pushExpired(row.index)
        const text = row.entry.toString()
        const entry = parsed(text)
        for (const sha256 of digestsOf(entry)) {
          if (written.has(sha256) || fresh.has(sha256)) continue
          const document = await queries.selectPolicy(client, org_id, sha256)
          if (document === null) continue // the verifier will miss it, and say so
          fresh.add(sha256)
          lines.push({ kind: 'policy', sha256, document: canonicalize(document as Json) })
        }
        lines.push(await this.line(org_id, row, text, entry, tile))
      }
      if (expired.length > 0) pushExpired(to)
      return { lines, fresh }
    })
    for (const sha256 of fresh) written.add(sha256)
    return lines
  }

  private async line(
    org_id: string,
    row: queries.ExportRow,
    text: string,
    entry: Entry | null,
    tile: Buffer | null,
  ): Promise<EntryLine> {
    const { index, id, ts, type, agent_id, action_key, allowed, decision_id } = row
    const at = (index % TILE_WIDTH) * HASH_BYTES
    // Before the tree has come so far, the hash of what is here; from then on what the tree says.
    const leaf =
      tile && tile.length >= at + HASH_BYTES
        ? tile.subarray(at, at + HASH_BYTES)
        : leafHash(sha256, row.entry)
    return {
      kind: 'entry',
      index,
      leaf: Buffer.from(leaf).toString('base64'),
      entry: text,
      columns: { id, ts: ts.toISOString(), type, agent_id, action_key, allowed, decision_id },
      ...(entry?.payload && (await this.payload(org_id, row, entry))),
    }
  }

  /** What opens the entry's commitment. One that cannot be decrypted is left out: then it is neither there nor erased. */
  private async payload(
    org_id: string,
    row: queries.ExportRow,
    { log, id, ts }: Entry,
  ): Promise<Pick<EntryLine, 'payload'>> {
    const stored = storedPayload(row)
    if (!stored) return { payload: { redacted: true } }
    const opened = await this.ledger.sealer.openCommitted(org_id, log, id, Date.parse(ts), stored)
    return opened ? { payload: { salt: opened.salt.toString('base64'), text: opened.text } } : {}
  }

  /** The entries as `GET /logs` shows them. */
  private async *list(
    org_id: string,
    { first, end }: Range,
    format: 'json' | 'csv',
    types: readonly string[],
    team: string | null,
  ): AsyncGenerator<string> {
    let begun = false
    yield format === 'csv' ? csvRow(CSV_COLUMNS) : '['
    for (let from = first; from < end; from += TILE_WIDTH) {
      const to = Math.min(end, from + TILE_WIDTH)
      const entries = await this.read(org_id, async (client) => {
        const rows = await queries.selectEntries(client, org_id, from, to, types, team)
        const views: LogEntry[] = []
        for (const row of rows) views.push(await this.view(org_id, row))
        return views
      })
      let text = ''
      for (const entry of entries) {
        if (format === 'csv') text += csvRow(CSV_COLUMNS.map((column) => entry[column]))
        else text += `${begun ? ',' : ''}\n${JSON.stringify(entry)}`
        begun = true
      }
      if (text !== '') yield text
    }
    if (format === 'json') yield '\n]\n'
  }

  private async view(org_id: string, row: queries.ExportRow): Promise<LogEntry> {
    const entry = JSON.parse(row.entry.toString()) as Entry
    const { log, id, ts } = entry
    const stored = storedPayload(row)
    const opened = stored && (await this.ledger.sealer.open(org_id, log, id, Date.parse(ts), stored))
    return toLogEntry(row.index, entry, opened)
  }

  /**
   * Reads a piece of an export that has begun. The client can be told of nothing any more but that it ended too early, and
   * would have to begin again: so a database that is away for a moment is waited for.
   */
  private read<T>(org_id: string, work: (client: PoolClient) => Promise<T>): Promise<T> {
    const attempt = () => {
      this.assertServing()
      return this.database.withOrgClient({ org_id }, work)
    }
    return insist(attempt, PATIENT)
  }

  /** A long export must not hold up a restart: the client sees it cut off, and can ask again. */
  private assertServing(): void {
    if (this.shutdown.isDraining) throw new Error('the service is closing')
  }
}

/** How many indexes a line stands for. */
function coveredBy(line: BundleLine): number {
  if (line.kind === 'entry') return 1
  return line.kind === 'expired' ? Buffer.byteLength(line.leaves, 'base64') / HASH_BYTES : 0
}

/** Null when the entry has no payload, or not any more. */
const storedPayload = ({ nonce, body, dek_id }: queries.ExportRow): StoredPayload | null =>
  nonce && body && dek_id !== null ? { nonce, body, dek_id } : null

async function rangeOf(client: PoolClient, org_id: string, query: ExportLogsQuery): Promise<Range> {
  const state = await queries.selectLog(client, org_id)
  if (!state) throw new Problem('organization_not_found')
  const { start_time, end_time } = query
  const first = start_time ? ((await queries.selectFirstIndex(client, org_id, start_time)) ?? state.size) : 0
  const last = end_time ? ((await queries.selectLastIndex(client, org_id, end_time)) ?? -1) : state.size - 1
  // Entries that were appended since `selectLog` are left out.
  const end = Math.min(last + 1, state.size)
  return { ...state, first: Math.min(first, end), end }
}

/** Keys, the newest checkpoint that the entries lead to, and the tree's edge where the bundle begins later. */
async function statements(client: PoolClient, org_id: string, range: Range): Promise<BundleLine[]> {
  const { epoch, first, end } = range
  const lines: BundleLine[] = []
  for (const { vkey, valid_from, valid_to } of await queries.selectKeys(client)) {
    lines.push({
      kind: 'key',
      vkey,
      valid_from: valid_from.toISOString(),
      valid_to: valid_to?.toISOString() ?? null,
    })
  }
  const note = await queries.selectCheckpoint(client, org_id, epoch, Math.max(first, 1), end)
  if (note !== null) lines.push({ kind: 'checkpoint', note })
  const edge = first > 0 ? await edgeOf(client, org_id, epoch, first) : null
  if (edge) lines.push({ kind: 'edge', hashes: edge })
  return lines
}

/** Hashes of the complete subtrees over the first `size` entries; null when the tree has not come so far. */
async function edgeOf(
  client: PoolClient,
  org_id: string,
  epoch: number,
  size: number,
): Promise<string[] | null> {
  const nodes = rangeNodes(0, size)
  const tiles = new Map<string, Buffer>()
  for (const tile of tilesOfPlan([nodes], size)) {
    const hashes = await queries.selectTile(client, org_id, epoch, tile.level, tile.index)
    if (!hashes || hashes.length < tile.width * HASH_BYTES) return null
    tiles.set(nameOf(tile), hashes)
  }
  const node = tileNodes(sha256, size, (tile) => tiles.get(nameOf(tile)) ?? Buffer.alloc(0))
  return nodes.map(({ level, index }) => Buffer.from(node(level, index)).toString('base64'))
}

const nameOf = ({ level, index }: Tile): string => `${level}/${index}`

/** Null for bytes that are no entry: they are exported as they are, for the verifier to find. */
function parsed(text: string): Entry | null {
  try {
    const entry: unknown = JSON.parse(text)
    return typeof entry === 'object' && entry !== null ? (entry as Entry) : null
  } catch {
    return null
  }
}

function digestsOf(entry: Entry | null): string[] {
  // Stored bytes are not believed here: what is not as it should be is for the verifier to say.
  const { policies }: { policies?: unknown } = entry?.type === 'decision' ? entry : {}
  if (Array.isArray(policies)) return policies.flatMap((policy) => digestOf(policy))
  const change = entry?.type === 'config' ? entry.change : undefined
  return change?.kind === 'policy' ? digestOf(change) : []
}

const digestOf = (policy: unknown): string[] => {
  const sha256 = errorField(policy, 'sha256')
  return typeof sha256 === 'string' ? [sha256] : []
}

const sha256 = (bytes: Uint8Array): Buffer => hash('sha256', bytes, 'buffer')
