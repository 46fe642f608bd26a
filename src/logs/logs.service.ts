import { Injectable } from '@nestjs/common'
import { type ActionEntry, type Entry, encodeEntry } from '../core/ledger/entry.js'
import { readRequest } from '../core/policy/request.js'
import { Problem } from '../core/problems.js'
import { LedgerService, monthOf } from '../ledger/ledger.service.js'
import { type AgentPrincipal, type Principal, teamOf } from '../platform/access/principal.js'
import { Slices } from '../platform/clock/slices.js'
import { Database, type Tx } from '../platform/database/database.service.js'
import { Metrics } from '../platform/metrics/metrics.js'
import { AgentLogService, type Attempt } from '../snapshots/agent-log.service.js'
import type { Permission } from '../core/permissions.js'
import { actionFilter } from './action-filter.js'
import { toLogEntry } from './log-entry.js'
import {
  type ListedType,
  type ListLogsQuery,
  type LogEntry,
  type ReportActionDto,
  TYPES,
} from './logs.dto.js'
import * as queries from './logs.queries.js'

const DEFAULT_LIMIT = 100

/** Payloads of one page together: a thousand of the largest would be 64 MB, several times over in memory. */
const PAGE_BYTES = 4 * 1024 * 1024

/** Which entries need more than `logs:read` (C40). */
const NEEDED: Readonly<Record<ListedType, Permission>> = {
  decision: 'logs:read',
  action: 'logs:read',
  config: 'config-logs:read',
  approval: 'approvals:read',
  kill: 'kill-switch:read',
  redaction: 'config-logs:read',
  epoch: 'config-logs:read',
}
/** Totals are exact to here and a lower bound beyond: counting a whole log would cost more than the page. */
export const COUNT_LIMIT = 10_000

export interface LogPage {
  readonly items: LogEntry[]
  readonly total: number
  /** True: there are more than `total`. */
  readonly total_is_lower_bound: boolean
  /** Cursor of the next page; null at the end. */
  readonly next: string | null
}

/** Agents report, people read. What is written is the ledger's; nothing here can change it. */
@Injectable()
export class LogsService {
  constructor(
    private readonly database: Database,
    private readonly ledger: LedgerService,
    private readonly log: AgentLogService,
    private readonly metrics: Metrics,
  ) {}

  /**
   * Records what an agent says it did (rows AG-70, C10, C30).
   * @throws Problem `validation_failed` for an action or resource that cannot be read, or a decision that is not the
   * agent's own; and what `AgentLogService.record` throws
   */
  async report(principal: AgentPrincipal, body: ReportActionDto): Promise<LogEntry> {
    const { action, resource, context, metadata } = body
    const reading = readRequest({ action, resource, context, arguments: metadata })
    if (!reading.ok) {
      const errors = reading.errors.map(({ path, message }) => ({
        path: path.replace(/^arguments/, 'metadata'),
        message,
      }))
      throw new Problem('validation_failed', { errors })
    }
    const request = reading.value
    const mismatch = await this.mismatch(principal, body)
    const payload = { context: request.context ?? undefined, metadata: request.arguments ?? undefined }
    const { answer, index } = await this.log.record(principal, payload, (attempt) => {
      const entry = actionEntry(attempt, principal, body, mismatch, {
        action: { raw: request.action.raw, key: request.action.key },
        ...(request.resource && { resource: { raw: request.resource.raw, key: request.resource.canonical } }),
      })
      return {
        type: 'action',
        action_key: request.action.key,
        allowed: body.allowed,
        decision_id: body.decision_id ?? null,
        entry: encodeEntry(entry),
        answer: entry,
      }
    })
    this.metrics.reported(principal.agent_id, request.action.words[0], body.result)
    return toLogEntry(index, answer, {
      ...(payload.context && { context: payload.context }),
      ...(payload.metadata && { metadata: payload.metadata }),
    })
  }

  /**
   * One page of the log, newest first. An agent sees its own entries only (row AG-72), an administrator who is held to
   * a team those about the agents that it owns now (AG-18).
   * @throws Problem `forbidden` when entries are asked for whose type needs a permission the principal has not,
   * `validation_failed` for a cursor or an action pattern that cannot be read
   */
  async list(principal: Principal, query: ListLogsQuery): Promise<LogPage> {
    const types = [...new Set(query.type ?? defaultTypes(principal, query))]
    for (const type of types) {
      const needed = NEEDED[type]
      if (!principal.permissions.has(needed)) {
        throw new Problem('forbidden', { detail: `type=${type} needs the permission ${needed}.` })
      }
    }
    const { allowed, start_time, end_time, log_id, decision_id } = query
    const filter: queries.LogFilter = {
      org_id: principal.org_id,
      agent_id: principal.kind === 'agent' ? principal.agent_id : query.agent_id,
      ...actionFilter(query.action),
      allowed,
      start_time,
      end_time,
      log_id,
      decision_id,
      types,
      team: teamOf(principal) ?? undefined,
    }
    const limit = query.limit ?? DEFAULT_LIMIT
    const page = { limit: limit + 1, offset: query.offset ?? 0, before: readCursor(query) }
    return this.database.withOrg(principal, async (tx) => {
      const rows = await queries.selectEntries(tx, filter, page)
      const counted = await queries.countEntries(tx, filter, COUNT_LIMIT + 1)
      const items = await this.open(tx, principal.org_id, rows.slice(0, limit))
      const last = items[items.length - 1]
      return {
        items,
        total: Math.min(counted, COUNT_LIMIT),
        total_is_lower_bound: counted > COUNT_LIMIT,
        next: rows.length > items.length && last ? makeCursor(last.index) : null,
      }
    })
  }

  /** Reads entries and opens their payloads: as many as fit into a page, at least one. */
  private async open(tx: Tx, org_id: string, rows: readonly queries.EntryRow[]): Promise<LogEntry[]> {
    const entries = rows.map((row) => ({ index: row.index, entry: parseEntry(row.entry) }))
    const sealed = entries.filter(({ entry }) => entry.payload !== undefined)
    const months = [...new Set(sealed.map(({ entry }) => monthOf(Date.parse(entry.ts))))]
    const found = await queries.selectPayloads(
      tx,
      org_id,
      sealed.map(({ index }) => index),
      months,
      PAGE_BYTES,
    )
    const payloads = new Map(found.map((row) => [row.index, row]))
    const items: LogEntry[] = []
    const slices = new Slices()
    for (const { index, entry } of entries) {
      const row = payloads.get(index)
      if (row?.body === null) break
      const at = Date.parse(entry.ts)
      const payload =
        row && (await this.ledger.sealer.open(org_id, entry.log, entry.id, at, { ...row, body: row.body }))
      items.push(toLogEntry(index, entry, payload ?? null))
      await slices.pause()
    }
    return items
  }

  /** Whether the report disagrees with the decision it names; undefined when it names none. */
  private async mismatch(principal: AgentPrincipal, body: ReportActionDto): Promise<boolean | undefined> {
    const { decision_id } = body
    if (decision_id === undefined) return undefined
    const decision = await this.database.withOrg(principal, (tx) =>
      queries.selectDecision(tx, principal.org_id, principal.agent_id, decision_id),
    )
    if (!decision) {
      const errors = [{ path: 'decision_id', message: 'is not a decision of this agent' }]
      throw new Problem('validation_failed', { errors })
    }
    return decision.allowed !== body.allowed
  }
}

/** Who names an entry need not know its type; of what they may not read they learn nothing. */
function defaultTypes({ permissions }: Principal, { log_id }: ListLogsQuery): readonly ListedType[] {
  if (log_id === undefined) return ['decision', 'action']
  return TYPES.filter((type) => permissions.has(NEEDED[type]))
}

function actionEntry(
  { snapshot, now, id, sealed }: Attempt,
  principal: AgentPrincipal,
  body: ReportActionDto,
  mismatch: boolean | undefined,
  readings: Pick<ActionEntry, 'action' | 'resource'>,
): ActionEntry {
  const request_id = body.request_id ?? principal.request_id
  return {
    v: 1,
    log: snapshot.log,
    id,
    ts: new Date(now).toISOString(),
    type: 'action',
    event: 'action.reported',
    actor: { kind: 'agent', id: snapshot.principal.agent_id, key_id: snapshot.principal.key_id },
    subject: snapshot.subject,
    config: snapshot.versions,
    ...readings,
    report: {
      allowed: body.allowed,
      result: body.result,
      ...(body.decision_id !== undefined && { decision_id: body.decision_id }),
      ...(mismatch !== undefined && { mismatch }),
    },
    ...(request_id !== undefined && { request_id }),
    ...(sealed && { payload: sealed.commitment }),
  }
}

// The parser of stored entries: their bytes were made by encodeEntry and cannot be changed since.
const parseEntry = (bytes: Uint8Array): Entry => JSON.parse(Buffer.from(bytes).toString()) as Entry

const makeCursor = (index: number): string => Buffer.from(`v1:${index}`).toString('base64url')

function readCursor({ cursor, offset }: ListLogsQuery): number | undefined {
  if (cursor === undefined) return undefined
  const match = /^v1:(\d{1,15})$/.exec(Buffer.from(cursor, 'base64url').toString())
  const message = match ? 'cannot be combined with offset' : 'must be the cursor of a Link header'
  if (!match || offset !== undefined) {
    throw new Problem('validation_failed', { errors: [{ path: 'cursor', message }] })
  }
  return Number(match[1])
}
