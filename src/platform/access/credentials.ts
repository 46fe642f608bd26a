import type { IncomingMessage } from 'node:http'
import type { Request } from 'express'
import { Problem } from '../../core/problems.js'
import { type SessionCredential, sessionOf, type Web } from './session-cookie.js'

export const ADMIN_HEADER = 'x-admin-key'
export const AGENT_HEADER = 'x-agent-key'
export const ORGANIZATION_HEADER = 'x-org-id'

export interface Credentials {
  readonly admin: string | undefined
  readonly agent: string | undefined
  /** What stands behind `Authorization: Bearer`: looked at before the keys (row AG-14). */
  readonly bearer?: string | undefined
  readonly org_id: string | undefined
  /** Only where no key was presented. */
  readonly session?: SessionCredential | undefined
}

/**
 * The credentials a request carries; an empty header counts as absent.
 * @throws Problem `duplicate_header`: of two keys, a proxy might have checked the other one.
 */
export function credentialsOf(request: IncomingMessage): Credentials {
  return {
    admin: singleHeader(request, ADMIN_HEADER),
    agent: singleHeader(request, AGENT_HEADER),
    bearer: bearerOf(request),
    org_id: singleHeader(request, ORGANIZATION_HEADER),
  }
}

/**
 * The same, with a browser's session where the request does not say itself who asks: browsers send cookies unasked, who
 * sends a key says whom they want to be.
 * @throws as `credentialsOf`
 */
export function presentedBy(request: Request, settings: Web): Credentials {
  const keys = credentialsOf(request)
  return saysWho(keys) ? keys : { ...keys, session: sessionOf(request, settings) }
}

/** Whether a request says itself who asks. */
export const saysWho = ({ admin, agent, bearer }: Credentials): boolean =>
  admin !== undefined || agent !== undefined || bearer !== undefined

/** The rest of an `Authorization: Bearer`; undefined for other schemes, which a proxy in front may use. */
function bearerOf(request: IncomingMessage): string | undefined {
  const value = request.headers.authorization
  if (value === undefined) return undefined
  // Of several, Node keeps the first in silence.
  if (timesSent(request, 'authorization') > 1) throw repeated('authorization')
  const match = /^Bearer(?: +(.*))?$/is.exec(value)
  return match ? (match[1] ?? '') : undefined
}

/** A header that may be sent once. Node joins repeated ones with ", ", so only those with a comma need a look. */
export function singleHeader(request: IncomingMessage, name: string): string | undefined {
  const value = request.headers[name]
  if (value === undefined || value === '') return undefined
  if (typeof value !== 'string' || (value.includes(',') && timesSent(request, name) > 1)) throw repeated(name)
  return value
}

function timesSent({ rawHeaders }: IncomingMessage, name: string): number {
  let times = 0
  for (let i = 0; i < rawHeaders.length; i += 2) if (rawHeaders[i]?.toLowerCase() === name) times++
  return times
}

const repeated = (name: string) =>
  new Problem('duplicate_header', { detail: `The header ${name} was sent more than once.` })
