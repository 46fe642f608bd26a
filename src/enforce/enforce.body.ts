import { parseStrictJson } from '../platform/http/strict-json.js'
import { type EnforceDto, MAX_BATCH } from './enforce.dto.js'

/** The body when it is what `EnforceDto` takes, else null: which mistake it holds is the DTO's to say. */
export function readOne(bytes: Buffer): EnforceDto | null {
  const body = parsed(bytes)
  return isEnforceDto(body) ? body : null
}

/** The items when the body is what `EnforceBatchDto` takes, else null. */
export function readBatch(bytes: Buffer): readonly EnforceDto[] | null {
  const body = parsed(bytes)
  if (!isObject(body)) return null
  for (const name in body) if (name !== 'requests') return null
  const { requests } = body
  if (!Array.isArray(requests) || requests.length < 1 || requests.length > MAX_BATCH) return null
  return requests.every(isEnforceDto) ? requests : null
}

/** Express reads the same bytes with the same function, and answers what it throws. */
function parsed(bytes: Buffer): unknown {
  try {
    return parseStrictJson(bytes)
  } catch {
    return undefined
  }
}

function isEnforceDto(body: unknown): body is EnforceDto {
  if (!isObject(body)) return false
  for (const name in body) {
    const value = body[name]
    switch (name) {
      case 'action':
      case 'resource':
        if (typeof value !== 'string') return false
        break
      case 'arguments':
      case 'context':
        if (!isObject(value)) return false
        break
      default:
        return false
    }
  }
  return body.action !== undefined
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
