import type { Json } from '../ledger/canonical.js'
import { err, ok, type Result } from '../result.js'
import { readAction } from './action.js'
import { readResource } from './resource.js'
import type { CanonicalRequest, JsonObject } from './stage.js'

/** A request as it arrives. */
export interface RequestSource {
  readonly action: unknown
  readonly resource?: unknown
  readonly arguments?: unknown
  readonly context?: unknown
  readonly approval_id?: unknown
}

/** One mistake in a request, `path` as in `arguments.to[0]`. */
export interface RequestError {
  readonly path: string
  readonly message: string
}

/** How deep `arguments` and `context` may be nested, themselves included (pipeline.md). */
export const MAX_DEPTH = 32
const MAX_APPROVAL_ID = 128
/** How much of a path, which holds the caller's own keys, an error repeats. */
const MAX_PATH = 256

/**
 * Reads what an agent asks for (normalisation.md): action and resource into their forms, `arguments` and `context` as
 * JSON objects. All mistakes at once, each with its field. The caller holds the two objects to 64 KiB together.
 * An absent, null or empty resource is a missing one. Never throws.
 */
export function readRequest(source: RequestSource): Result<CanonicalRequest, RequestError[]> {
  const errors: RequestError[] = []
  const action = readText(source.action, 'action', readAction, errors)
  if (source.action === undefined)
    errors.push({ path: 'action', message: 'is required, such as "read:file"' })
  const missing = source.resource === undefined || source.resource === null || source.resource === ''
  const resource = missing ? null : readText(source.resource, 'resource', readResource, errors)
  const args = readObject(source.arguments, 'arguments', errors)
  const context = readObject(source.context, 'context', errors)
  const approval = readApprovalId(source.approval_id, errors)
  if (errors.length > 0 || action === null) return err(errors)
  return ok({ action, resource, arguments: args, context, approval_id: approval })
}

function readText<T>(
  value: unknown,
  path: string,
  read: (text: string) => Result<T, string>,
  errors: RequestError[],
): T | null {
  if (value === undefined) return null
  if (typeof value !== 'string') {
    errors.push({ path, message: 'must be text' })
    return null
  }
  const reading = read(value)
  if (reading.ok) return reading.value
  errors.push({ path, message: reading.errors })
  return null
}

function readApprovalId(value: unknown, errors: RequestError[]): string | null {
  if (value === undefined || value === null) return null
  // Printable ASCII: whatever was sent as an id is recorded with the refusal.
  if (typeof value === 'string' && value.length <= MAX_APPROVAL_ID && /^[!-~]+$/.test(value)) return value
  errors.push({ path: 'approval_id', message: 'must be the id of an approval' })
  return null
}

function readObject(value: unknown, path: string, errors: RequestError[]): JsonObject | null {
  if (value === undefined || value === null) return null
  if (!isObject(value)) {
    errors.push({ path, message: 'must be a JSON object' })
    return null
  }
  const flaw = findFlaw(value, 1)
  if (flaw === null) return asJsonObject(value)
  errors.push({ path: `${path}${flaw.path}`.slice(0, MAX_PATH), message: flaw.message })
  return null
}

/** The first thing in `value` that canonical JSON (RFC 8785) cannot hold, or that lies too deep; its path within. */
function findFlaw(value: unknown, depth: number): RequestError | null {
  if (value === null || value === undefined || typeof value === 'boolean') return null
  if (typeof value === 'string') return textFlaw(value)
  if (typeof value === 'number') return Number.isFinite(value) ? null : here('must be a finite number')
  if (typeof value !== 'object') return here('must be JSON')
  if (depth > MAX_DEPTH) return here(`must not be nested deeper than ${MAX_DEPTH}`)
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) {
      const flaw = findFlaw(value[i], depth + 1)
      if (flaw) return { path: `[${i}]${flaw.path}`, message: flaw.message }
    }
    return null
  }
  for (const [key, member] of Object.entries(value)) {
    const flaw = textFlaw(key) ?? findFlaw(member, depth + 1)
    if (flaw) return { path: `.${key}${flaw.path}`, message: flaw.message }
  }
  return null
}

const here = (message: string): RequestError => ({ path: '', message })

const textFlaw = (text: string): RequestError | null =>
  /\p{Surrogate}/u.test(text) ? here('must be well-formed Unicode text') : null

const isObject = (value: unknown): value is object =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

// The parser's one assertion: findFlaw has been through every member.
const asJsonObject = (value: object): JsonObject => value as { readonly [key: string]: Json }
