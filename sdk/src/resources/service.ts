import type { RequestOptions } from '../transport.js'
import { Resource } from './resource.js'

/** How the service is. None of these needs a key, except `metrics`. */
export class Health extends Resource {
  get(options?: RequestOptions) {
    return this.call('get', '/v1/health', {}, options)
  }
  /** @throws ServiceUnavailableError when decisions cannot be made or recorded */
  ready(options?: RequestOptions) {
    return this.call('get', '/v1/health/ready', {}, options)
  }
  live(options?: RequestOptions) {
    return this.call('get', '/v1/health/live', {}, options)
  }
  stats(options?: RequestOptions) {
    return this.call('get', '/v1/health/stats', {}, options)
  }
  /** Name and version of the service. */
  index(options?: RequestOptions) {
    return this.call('get', '/v1', {}, options)
  }
  /** In the text format of Prometheus. */
  metrics(options?: RequestOptions): Promise<string> {
    return this.text('/v1/metrics', {}, 'text/plain', options)
  }
}
