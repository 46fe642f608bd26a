import type { IncomingMessage } from 'node:http'
import { Injectable } from '@nestjs/common'
import type { Express, Request } from 'express'
import type { AccessRule } from '../platform/access/access.decorator.js'
import { presentedBy } from '../platform/access/credentials.js'
import { Gatekeeper } from '../platform/access/gatekeeper.js'
import type { Principal } from '../platform/access/principal.js'
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
    return this.gatekeeper.admit(LISTEN, presentedBy(request, this.settings), ip)
  }
}

/**
 * A request that Express has not seen, as Express shows one: with the address and the protocol by which cookies, origins
 * and limits are judged, believing proxies exactly as far as `TRUST_PROXY_HEADERS` says.
 */
export function asSeen(request: IncomingMessage, express: Pick<Express, 'request'>): Request {
  // What Express itself does with every request that it handles.
  return Object.setPrototypeOf(request, express.request) as Request
}
