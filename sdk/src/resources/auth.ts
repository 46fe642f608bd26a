import type { ChangePassword, Login } from '../generated/openapi.js'
import type { QueryOf } from '../operations.js'
import type { RequestOptions } from '../transport.js'
import { Resource } from './resource.js'

/** Signing in with a browser: sessions are cookies, so these serve programs that keep them. */
export class Auth extends Resource {
  /** Signs a person in with email and password. */
  login(body: Login, options?: RequestOptions) {
    return this.call('post', '/v1/auth/login', { body }, options)
  }
  /** Signs out: the session ends, and the cookie is taken back. */
  async logout(options?: RequestOptions): Promise<void> {
    await this.call('post', '/v1/auth/logout', {}, options)
  }
  /** Who is asking, in which organization, and what they may do. */
  me(options?: RequestOptions) {
    return this.call('get', '/v1/auth/me', {}, options)
  }
  /** Lists the browsers in which this person is signed in, newest first. */
  sessions(options?: RequestOptions) {
    return this.pages('/v1/auth/sessions', {}, options)
  }
  /** Signs one of this person's browsers out. */
  async endSession(session_id: string, options?: RequestOptions): Promise<void> {
    await this.call('delete', '/v1/auth/sessions/{session_id}', { params: { session_id } }, options)
  }
  /** Changes this person's own password; their other sessions end. */
  async changePassword(body: ChangePassword, options?: RequestOptions): Promise<void> {
    await this.call('post', '/v1/auth/password', { body }, options)
  }
  /** Sends a browser to the identity provider of an organization. */
  startSingleSignOn(query: QueryOf<'get', '/v1/auth/oidc/start'>, options?: RequestOptions) {
    return this.call('get', '/v1/auth/oidc/start', { query }, options)
  }
  /** Where the identity provider sends the browser back to: begins a session and leads to the dashboard. */
  completeSingleSignOn(query?: QueryOf<'get', '/v1/auth/oidc/callback'>, options?: RequestOptions) {
    return this.call('get', '/v1/auth/oidc/callback', { query }, options)
  }
}
