import type { IncomingMessage } from 'node:http'
import { Injectable } from '@nestjs/common'
import type { Request } from 'express'
import type { AccessRule } from '../platform/access/access.decorator.js'
import { credentialsOf, saysWho } from '../platform/access/credentials.js'
import { Gatekeeper } from '../platform/access/gatekeeper.js'
import type { Principal } from '../platform/access/principal.js'
import { sessionOf } from '../platform/access/session-cookie.js'
import { Settings } from '../platform/config/settings.js'

/** What `@Access` says of `GET /events`; `/ws` is not a route and asks itself. */
export const LISTEN: AccessRule = { permission: 'events:read', by: 'either', within_team: true }

/** Asks the gatekeeper as the access guard does: for a WebSocket, and again and again while a stream is open. */
@Injectable()
export class Admission {
  constructor(
    private readonly gatekeeper: Gatekeeper,
    private readonly settings: Settings,
  ) {}

  /** @throws Problem as `Gatekeeper.admit` */
  admit(request: Request, ip: string | undefined): Promise<Principal> {
    const keys = credentialsOf(request)
    const nokeys = !saysWho(keys)
    const credentials = nokeys ? { ...keys, session: sessionOf(request, this.settings) } : keys
    return this.gatekeeper.admit(LISTEN, credentials, ip)
  }
}

/** A request that Express has not seen, with the one thing that cookies and origins are judged by. */
export function asSeen(request: IncomingMessage): Request {
  const protocol = 'encrypted' in request.socket ? 'https' : 'http'
  return Object.assign(request, { protocol }) as unknown as Request
}
