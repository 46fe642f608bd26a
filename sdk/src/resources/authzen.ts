import type { AccessEvaluation, AccessEvaluations } from '../generated/openapi.js'
import type { RequestOptions } from '../transport.js'
import { Resource } from './resource.js'

/** `enforce` in the form of OpenID AuthZEN 1.0, for programs that speak it already. */
export class Authzen extends Resource {
  /** One question. Only `decision: true` allows. */
  evaluation(body: AccessEvaluation, options?: RequestOptions) {
    const how = { speaker: 'agent', idempotent: false } as const
    return this.call('post', '/access/v1/evaluation', { body }, options, how)
  }
  /** Up to 100, all or until the first deny or permit. */
  evaluations(body: AccessEvaluations, options?: RequestOptions) {
    const how = { speaker: 'agent', idempotent: false } as const
    return this.call('post', '/access/v1/evaluations', { body }, options, how)
  }
  /** Where these endpoints are. */
  configuration(options?: RequestOptions) {
    return this.call('get', '/.well-known/authzen-configuration', {}, options)
  }
}
