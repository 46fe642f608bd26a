import type {
  AccessEvaluation,
  AccessEvaluations,
  AccessRequest,
  CancelAccessRequest,
} from '../generated/openapi.js'
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
  /** Asks people for what an evaluation refused; the same task however often it is submitted. */
  requestAccess(body: AccessRequest, options?: RequestOptions) {
    const how = { speaker: 'agent', idempotent: true } as const
    return this.call('post', '/access/v1/requests', { body }, options, how)
  }
  /** What became of it. */
  accessRequest(task_id: string, options?: RequestOptions) {
    const how = { speaker: 'agent' } as const
    return this.call('get', '/access/v1/requests/{task_id}', { params: { task_id } }, options, how)
  }
  /** Withdraws it while it waits. */
  cancelAccessRequest(task_id: string, body: CancelAccessRequest = {}, options?: RequestOptions) {
    const filling = { params: { task_id }, body }
    const how = { speaker: 'agent' } as const
    return this.call('post', '/access/v1/requests/{task_id}/cancel', filling, options, how)
  }
  /** Where these endpoints are. */
  configuration(options?: RequestOptions) {
    return this.call('get', '/.well-known/authzen-configuration', {}, options)
  }
}
