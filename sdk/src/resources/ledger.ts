import type { StartEpoch } from '../generated/openapi.js'
import type { QueryOf } from '../operations.js'
import type { RequestOptions } from '../transport.js'
import { callOf, Resource } from './resource.js'

/** What an outsider needs to check the log: signed checkpoints, tiles, proofs, keys (RFC 6962, C2SP). */
export class Ledger extends Resource {
  /** The newest signed checkpoint, as text. */
  checkpoint(options?: RequestOptions): Promise<string> {
    return this.text('/v1/ledger/checkpoint', {}, 'text/plain', options)
  }
  /** A tile such as `0/x001/067` or `entries/000.p/12`, as bytes. */
  async tile(path: string, options: RequestOptions = {}): Promise<Uint8Array> {
    const call = callOf('get', '/v1/ledger/tile/{path}', { params: { path } }, { accept: '*/*' })
    const read = async (response: Response) => new Uint8Array(await response.arrayBuffer())
    return (await this.transport.send(call, options, read)).value
  }
  /** That the log only grew between two sizes. */
  consistency(query: QueryOf<'get', '/v1/ledger/consistency'>, options?: RequestOptions) {
    return this.call('get', '/v1/ledger/consistency', { query }, options)
  }
  /** Begins a new history after the old one was halted. */
  startEpoch(body: StartEpoch, options?: RequestOptions) {
    return this.call('post', '/v1/ledger/epochs', { body }, options)
  }
  /** The keys that sign checkpoints. */
  keys(query?: QueryOf<'get', '/.well-known/agentguard-keys.json'>, options?: RequestOptions) {
    return this.call('get', '/.well-known/agentguard-keys.json', { query }, options)
  }
}
