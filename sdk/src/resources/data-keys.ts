import type { RequestOptions } from '../transport.js'
import { Resource } from './resource.js'

/** The keys that payloads are sealed with. */
export class DataKeys extends Resource {
  /** Seal new payloads with a new data key.

What is sealed stays as it is and can be read as before. The key before is kept for that. */
  rotate(options?: RequestOptions) {
    return this.call('post', '/v1/ledger/data-keys/rotate', {}, options)
  }
  /** Count the data keys under each key-encryption key.

After a rotation of `LEDGER_KEK`, the former one can be taken out of `LEDGER_KEK_PREVIOUS` once only the present
one is listed, for every organization. */
  list(options?: RequestOptions) {
    return this.pages('/v1/ledger/data-keys', {}, options)
  }
}
