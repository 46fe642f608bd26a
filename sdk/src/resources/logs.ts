import type { QueryOf } from '../operations.js'
import { type RequestOptions, unreadable } from '../transport.js'
import type { ActionReport } from '../types.js'
import { callOf, Resource } from './resource.js'

/** Reading and hashing a long log takes its time. */
const VERIFY_TIMEOUT_MS = 600_000

/** What was decided and what was done. */
export class Logs extends Resource {
  /**
   * Reports what the agent did. A report whose answer is lost is sent again: it may then stand in the log twice,
   * with one `request_id`.
   */
  report(body: ActionReport, options?: RequestOptions) {
    return this.call('post', '/v1/logs', { body }, options, { speaker: 'agent' })
  }
  /** Newest first. `for await` reads all of it by cursor: it neither skips nor repeats while entries are added. */
  list(query?: QueryOf<'get', '/v1/logs'>, options?: RequestOptions) {
    return this.pages('/v1/logs', { query }, options)
  }
  /**
   * The log as a file, oldest first; `ndjson` can be checked offline. An export that was cut off has no last line:
   * `agentguard export` checks for it.
   */
  async export(
    query?: QueryOf<'get', '/v1/logs/export'>,
    options: RequestOptions = {},
  ): Promise<ReadableStream<Uint8Array>> {
    const call = callOf('get', '/v1/logs/export', { query }, { accept: '*/*' })
    const { value, answer } = await this.transport.send(call, options, async (response) => response.body)
    if (!value) throw unreadable('The export has no body.', answer.request_id)
    return value
  }
  /** Lets the service check the log against its own checkpoints. To trust nobody: `@agentguard/sdk/verify`. */
  verify(query?: QueryOf<'get', '/v1/logs/verify'>, options?: RequestOptions) {
    const patient = { timeoutMs: VERIFY_TIMEOUT_MS, ...options }
    return this.call('get', '/v1/logs/verify', { query }, patient)
  }
  /** That an entry is in the log, as JSON with its parts. */
  proof(log_id: string, options?: RequestOptions) {
    return this.call('get', '/v1/logs/{log_id}/proof', { params: { log_id } }, options)
  }
  /** The same as a C2SP tlog-proof, which other tools read. */
  proofText(log_id: string, options?: RequestOptions): Promise<string> {
    return this.text('/v1/logs/{log_id}/proof', { params: { log_id } }, 'text/plain', options)
  }
}
