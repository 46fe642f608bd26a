import type { QueryOf } from '../operations.js'
import type { RequestOptions } from '../transport.js'
import { Resource } from './resource.js'

/** Figures about the past. */
export class Reports extends Resource {
  /** How people decide: how long they take, which way, and how often within three seconds; in all, by approver, by workflow. */
  approvals(query?: QueryOf<'get', '/v1/reports/approvals'>, options?: RequestOptions) {
    return this.call('get', '/v1/reports/approvals', { query }, options)
  }
}
