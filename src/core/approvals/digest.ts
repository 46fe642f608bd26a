import { canonicalize, type Json } from '../ledger/canonical.js'
import type { JsonObject } from '../policy/stage.js'

/** The parts of a request (`CanonicalRequest`) that a person decides about. */
export interface BoundRequest {
  readonly action: { readonly key: string }
  readonly resource: { readonly canonical: string } | null
  readonly arguments: JsonObject | null
  readonly context: JsonObject | null
}

/** What an approval is bound to, beside the request itself. */
export interface Asker {
  readonly org_id: string
  readonly agent_id: string
}

const DOMAIN = 'agentguard/approval/v1\0'

/**
 * What exactly a person decides about, as canonical JSON (RFC 8785): organization, agent, action key, canonical
 * resource, arguments, and the context without `trace`, which differs from call to call by its nature (pipeline.md).
 */
export function boundRequest({ org_id, agent_id }: Asker, request: BoundRequest): string {
  return canonicalize({
    organization: org_id,
    agent: agent_id,
    action: request.action.key,
    resource: request.resource?.canonical ?? null,
    arguments: request.arguments ?? null,
    context: withoutTrace(request.context),
  })
}

/** A context that holds nothing but a trace is none: the next call has another trace, or no tracing at all. */
function withoutTrace(context: JsonObject | null): Json {
  if (context === null || !Object.hasOwn(context, 'trace')) return context ?? null
  const { trace: _, ...rest } = context
  return Object.keys(rest).length === 0 ? null : rest
}

/** Hashing comes in: this folder is pure. `utf8` gives the bytes of a text. */
export interface DigestTools {
  readonly sha256: (bytes: Uint8Array) => Uint8Array
  readonly utf8: (text: string) => Uint8Array
}

/**
 * The bytes whose SHA-256 is the digest that the log keeps for ever. The salt lies in the erasable payload, so that
 * after an erasure nobody can find out the arguments by guessing them (ledger.md, Payload).
 */
export function digestInput({ utf8 }: Pick<DigestTools, 'utf8'>, salt: string, bound: string): Uint8Array {
  return utf8(`${DOMAIN}${salt}\0${bound}`)
}
