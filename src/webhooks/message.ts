import type { Json } from '../core/ledger/canonical.js'
import type { Entry } from '../core/ledger/entry.js'
import type { EventFacts } from '../deliveries/deliveries.service.js'

export const MODES = ['standard', 'cloudevents'] as const
export type Mode = (typeof MODES)[number]

/** Standard Webhooks advises to stay below 20 kB. */
const MAX_BODY_BYTES = 20_000
const ALWAYS = ['org_id', 'log_id', 'log_index', 'url'] as const

export interface Message {
  readonly body: string
  readonly content_type: string
}

/**
 * An event as a receiver gets it. Larger than 20 kB, it loses first its payload and then its facts; what remains names
 * the entry, to be read at `GET /logs`.
 * @param payload undefined: it is not for this receiver; null: there is none, or it was erased
 */
export function makeMessage(
  mode: Mode,
  entry: Entry,
  facts: EventFacts,
  payload: Readonly<Record<string, Json>> | null | undefined,
): Message {
  const ids = Object.fromEntries(ALWAYS.map((name) => [name, facts[name]]))
  const candidates = [
    payload === undefined ? facts : { ...facts, payload },
    { ...facts, truncated: true },
    { ...ids, truncated: true },
  ]
  let body = ''
  for (const data of candidates) {
    body = JSON.stringify(mode === 'standard' ? standard(entry, data) : cloudEvent(entry, facts.org_id, data))
    if (Buffer.byteLength(body) <= MAX_BODY_BYTES) break
  }
  const content_type =
    mode === 'standard' ? 'application/json' : 'application/cloudevents+json; charset=utf-8'
  return { body, content_type }
}

const standard = ({ event, ts }: Entry, data: object): object => ({ type: event, timestamp: ts, data })

/** CloudEvents 1.0, structured mode: `id` is unique within `source`, which is the organization. */
const cloudEvent = (entry: Entry, org_id: string, data: object): object => ({
  specversion: '1.0',
  id: entry.id,
  source: `urn:agentguard:${org_id}`,
  type: `dev.agentguard.${entry.event}.v1`,
  ...subjectOf(entry),
  time: entry.ts,
  datacontenttype: 'application/json',
  data,
})

function subjectOf(entry: Entry): { subject?: string } {
  if (entry.type === 'approval') return { subject: entry.approval.id }
  if (entry.type === 'config') return { subject: entry.change.id }
  const agent = 'subject' in entry ? entry.subject?.agent_id : undefined
  return agent === undefined ? {} : { subject: agent }
}
