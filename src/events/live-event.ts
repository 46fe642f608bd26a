import type { Entry, EntryType } from '../core/ledger/entry.js'
import type { Permission } from '../core/permissions.js'
import { type Principal, teamOf } from '../platform/access/principal.js'
import type { HeadRow } from './events.queries.js'

/** An event as it is sent, and what decides who gets it. The text is made once for all who do. */
export interface LiveEvent {
  /** Index of the entry; null for a checkpoint, which is no entry and cannot be resumed from. */
  readonly index: number | null
  readonly kind: EntryType | 'checkpoint' | 'bundle'
  /** `<noun>.<past>`. */
  readonly name: string
  readonly agent_id: string | null
  readonly team: string | null
  readonly json: string
}

/** What each kind needs besides `events:read`; the same as for reading it in the log. */
const NEEDED: Readonly<Record<LiveEvent['kind'], Permission>> = {
  decision: 'logs:read',
  action: 'logs:read',
  config: 'config-logs:read',
  approval: 'approvals:read',
  kill: 'kill-switch:read',
  redaction: 'config-logs:read',
  epoch: 'config-logs:read',
  checkpoint: 'logs:read',
  bundle: 'policies:read',
}
/** What an agent is told of: its own decisions, reports and approvals. */
const OF_AGENTS: ReadonlySet<string> = new Set(['decision', 'action', 'approval'])

/** An entry as an event. What can be erased is not in it: that is beside the entry, and only its commitment within. */
export function eventOf(index: number, text: string): LiveEvent {
  // The parser of stored entries: their bytes were made by encodeEntry and cannot be changed since.
  const entry = JSON.parse(text) as Entry
  const { v: _, log, id: log_id, ts, payload: __, ...data } = entry
  const subject = 'subject' in entry ? entry.subject : undefined
  const name = entry.event
  return {
    index,
    kind: entry.type,
    name,
    agent_id: subject?.agent_id ?? null,
    team: subject?.team ?? null,
    json: JSON.stringify({
      specversion: '1.0',
      id: String(index),
      source: log,
      type: `dev.agentguard.${name}.v1`,
      time: ts,
      ...(subject && { subject: subject.agent_id }),
      datacontenttype: 'application/json',
      data: { log_id, index, ...data },
    }),
  }
}

export function checkpointOf({ origin, checkpoint }: HeadRow): LiveEvent | null {
  if (!checkpoint) return null
  const { size, root, at } = checkpoint
  const json = JSON.stringify({
    specversion: '1.0',
    id: `checkpoint-${size}`,
    source: origin,
    type: 'dev.agentguard.ledger.checkpoint_published.v1',
    time: new Date(at).toISOString(),
    datacontenttype: 'application/json',
    data: { origin, size, root },
  })
  const name = 'ledger.checkpoint_published'
  return { index: null, kind: 'checkpoint', name, agent_id: null, team: null, json }
}

/** Entries that can change what an agent decides from. */
const OF_BUNDLES: ReadonlySet<string> = new Set(['config', 'kill'])

/**
 * Tells an agent that its bundle may have changed, and nothing else: who changed what is not for agents. Made of every
 * change of configuration that is not another agent's.
 */
function bundleChanged({ index, json }: LiveEvent): LiveEvent {
  const { id, source, time } = JSON.parse(json) as { id: string; source: string; time: string }
  const name = 'bundle.changed'
  const event = {
    specversion: '1.0',
    id,
    source,
    type: `dev.agentguard.${name}.v1`,
    time,
    datacontenttype: 'application/json',
    data: { index },
  }
  return { index, kind: 'bundle', name, agent_id: null, team: null, json: JSON.stringify(event) }
}

/** What this principal is sent of an event, if anything: by permission, team, agent and what was asked for. */
export function filterOf(
  principal: Principal,
  types: readonly string[] | undefined,
): (event: LiveEvent) => LiveEvent | null {
  const wanted = types && new Set(types)
  const asked = ({ kind, name }: LiveEvent) => !wanted || wanted.has(kind) || wanted.has(name)
  if (principal.kind === 'agent') {
    // Only who asks for it by name: to others it says nothing.
    const bundles = wanted?.has('bundle') === true || wanted?.has('bundle.changed') === true
    return (event) => {
      const own = event.agent_id === principal.agent_id
      if (bundles && OF_BUNDLES.has(event.kind) && (own || event.agent_id === null))
        return bundleChanged(event)
      return own && OF_AGENTS.has(event.kind) && asked(event) ? event : null
    }
  }
  const team = teamOf(principal)
  return (event) => {
    const reads = principal.permissions.has(NEEDED[event.kind]) && (team === null || event.team === team)
    return reads && asked(event) ? event : null
  }
}
