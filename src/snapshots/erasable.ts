import { canonicalize, type Json } from '../core/ledger/canonical.js'
import type { CanonicalRequest } from '../core/policy/stage.js'
import { Problem } from '../core/problems.js'

const MAX_BYTES = 64 * 1024

/** The erasable members of an entry; undefined ones are left out, none at all or null means no payload. */
export type Erasable = Readonly<Record<string, Json | undefined>> | null

/**
 * What of a request can be erased later: its arguments and context. Null when it has neither.
 * @param which of several requests it is, for the message, such as `requests[3]: `
 * @throws Problem `payload_too_large` above 64 KiB of canonical JSON
 */
export function erasableOf(
  { arguments: args, context }: CanonicalRequest,
  which = '',
): Readonly<Record<string, Json>> | null {
  if (args === null && context === null) return null
  const payload = { ...(args && { arguments: args }), ...(context && { context }) }
  if (Buffer.byteLength(canonicalize(payload)) > MAX_BYTES) {
    throw new Problem('payload_too_large', {
      detail: `${which}arguments and context may have 64 KiB together.`,
    })
  }
  return payload
}
