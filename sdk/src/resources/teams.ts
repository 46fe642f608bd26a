import type { QueryOf } from '../operations.js'
import type { RequestOptions } from '../transport.js'
import { Resource } from './resource.js'

/** Who owns agents. */
export class Teams extends Resource {
  list(query?: QueryOf<'get', '/v1/teams'>, options?: RequestOptions) {
    return this.pages('/v1/teams', { query }, options)
  }
}
