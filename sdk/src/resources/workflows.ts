import type { WorkflowDocument } from '../generated/openapi.js'
import type { RequestOptions } from '../transport.js'
import { Resource } from './resource.js'

/** How pending decisions are decided: who, how many, how long. */
export class Workflows extends Resource {
  /** Lists the organization's workflows, shipped ones and its own, by name. */
  list(options?: RequestOptions) {
    return this.pages('/v1/workflows', {}, options)
  }
  /** Gets one workflow. */
  get(workflow: string, options?: RequestOptions) {
    return this.call('get', '/v1/workflows/{workflow}', { params: { workflow } }, options)
  }
  /** Writes a workflow as a whole, also in place of a shipped one. */
  put(workflow: string, body: WorkflowDocument, options?: RequestOptions) {
    return this.call('put', '/v1/workflows/{workflow}', { params: { workflow }, body }, options)
  }
}
