import type { CreateToken, RotateSigningKeys } from '../generated/openapi.js'
import type { RequestOptions } from '../transport.js'
import { Resource } from './resource.js'

/** Short-lived tokens made from keys. */
export class Tokens extends Resource {
  /** Makes a token from a key. */
  create(body: CreateToken, options?: RequestOptions) {
    return this.call('post', '/v1/token', { body }, options)
  }
  /** Ends the token that this request carries. */
  revoke(options?: RequestOptions) {
    return this.call('post', '/v1/token/revoke', {}, options)
  }
  /** Makes new keys for signing tokens. */
  rotateKeys(body: RotateSigningKeys, options?: RequestOptions) {
    return this.call('post', '/v1/token/keys/rotate', { body }, options)
  }
  /** The public keys that tokens are verified with (RFC 7517). */
  jwks(options?: RequestOptions) {
    return this.call('get', '/.well-known/jwks.json', {}, options)
  }
}
