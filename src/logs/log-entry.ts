import type { Json } from '../core/ledger/canonical.js'
import type { Entry } from '../core/ledger/entry.js'
import { STATUS } from '../core/policy/stage.js'
import type { LogEntry } from './logs.dto.js'

/** An entry as `GET /logs` shows it: the documented row of AG-70, and what its type adds. */
export function toLogEntry(
  index: number,
  entry: Entry,
  payload: Readonly<Record<string, Json>> | null,
): LogEntry {
  const decision = entry.type === 'decision' ? entry.decision : null
  const report = entry.type === 'action' ? entry.report : null
  const reading = 'action' in entry ? entry : null
  return {
    log_id: entry.id,
    index,
    type: entry.type,
    event: entry.event,
    source: entry.type === 'action' ? 'agent' : 'service',
    agent_id: 'subject' in entry ? (entry.subject?.agent_id ?? null) : null,
    timestamp: entry.ts,
    action: reading?.action.raw ?? null,
    resource: reading?.resource?.raw ?? null,
    arguments: objectOrNull(payload?.arguments),
    context: objectOrNull(payload?.context),
    allowed: decision ? decision.effect === 'allow' : (report?.allowed ?? null),
    result: report?.result ?? null,
    metadata: objectOrNull(payload?.metadata),
    request_id: entry.request_id ?? null,
    decision_id: decision ? entry.id : decisionNamedBy(entry),
    status: decision ? STATUS[decision.effect] : null,
    code: decision?.code ?? null,
    reason: decision?.reason ?? null,
    mismatch: report?.mismatch ?? null,
    actor: entry.actor,
    change: changeOf(entry),
    before: objectOrNull(payload?.before),
    after: objectOrNull(payload?.after),
    redacted: entry.payload !== undefined && payload === null,
  }
}

function decisionNamedBy(entry: Entry): string | null {
  if (entry.type === 'action') return entry.report.decision_id ?? null
  return entry.type === 'approval' ? (entry.approval.decision_id ?? null) : null
}

function changeOf(entry: Entry): object | null {
  switch (entry.type) {
    case 'config':
      return entry.change
    case 'approval':
      return entry.approval
    case 'kill':
      return entry.kill
    case 'redaction':
      return entry.redaction
    case 'epoch':
      return entry.epoch
    case 'decision':
    case 'action':
      return null
  }
}

const objectOrNull = (value: Json | undefined): object | null =>
  typeof value === 'object' && value !== null ? value : null
