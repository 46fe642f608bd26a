import type { Request, Response } from 'express'
import { sessionCookie, sessionOf } from '../platform/access/session-cookie.js'
import type { Settings } from '../platform/config/settings.js'
import { idOf } from '../platform/http/request-id.js'
import type { Visit } from '../sessions/sessions.service.js'

/** Where somebody signs in from. */
export const visitOf = (request: Request, settings: Settings): Visit => ({
  address: request.ip ?? 'unknown',
  user_agent: request.headers['user-agent'] ?? '',
  request_id: idOf(request),
  previous: sessionOf(request, settings)?.token,
})

/** Gives the browser its session. */
export function keepSession(request: Request, response: Response, settings: Settings, token: string): void {
  const { name, attributes } = sessionCookie(request, settings)
  response.append('Set-Cookie', `${name}=${token}; ${attributes}`)
}

/** Takes the cookie back. */
export function forgetSession(request: Request, response: Response, settings: Settings): void {
  const { name, attributes } = sessionCookie(request, settings)
  response.append('Set-Cookie', `${name}=; ${attributes}; Max-Age=0`)
}
