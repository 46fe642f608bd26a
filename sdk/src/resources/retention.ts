import type { UpdateRetention } from '../generated/openapi.js'
import type { RequestOptions } from '../transport.js'
import { Resource } from './resource.js'

/** How long the log is kept. */
export class Retention extends Resource {
  /** How long coming entries are kept, and how many have expired. */
  get(options?: RequestOptions) {
    return this.call('get', '/v1/ledger/retention', {}, options)
  }
  /** Keep coming entries for another time.

Entries that are in the log already keep the time they were written with. */
  update(body: UpdateRetention, options?: RequestOptions) {
    return this.call('put', '/v1/ledger/retention', { body }, options)
  }
  /** Expire what is due, of every organization, now instead of tonight.

Does nothing unless `LEDGER_EXPIRY` is set. */
  run(options?: RequestOptions) {
    return this.call('post', '/v1/ledger/retention/run', {}, options)
  }
}
