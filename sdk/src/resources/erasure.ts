import type { EraseAgent, EraseEntry } from '../generated/openapi.js'
import type { RequestOptions } from '../transport.js'
import { Resource } from './resource.js'

/** Erasing payloads; entries and proofs stay. */
export class Erasure extends Resource {
  /** Erase the payload of an entry.

Arguments, context, metadata, before and after are removed for good; the entry, its hash and every proof stay,
and `GET /logs` shows it as `redacted`. Repeating it erases nothing more. */
  entry(log_id: string, body: EraseEntry, options?: RequestOptions) {
    return this.call('post', '/v1/logs/{log_id}/erase', { params: { log_id }, body }, options)
  }
  /** Erase the payloads of an agent's entries.

All of them, or those up to `end_time`; 5,000 a transaction, each recorded by a `redaction` entry. When the
connection breaks, ask again: it goes on where it ended. */
  agent(agent_id: string, body: EraseAgent, options?: RequestOptions) {
    return this.call('post', '/v1/agents/{agent_id}/erase', { params: { agent_id }, body }, options)
  }
}
