import type { LiveEventDto } from '../generated/openapi.js'
import type { QueryOf } from '../operations.js'
import { type RequestOptions, unreadable } from '../transport.js'
import { callOf, Resource } from './resource.js'

/** What is committed to the log, as it happens. */
export class Events extends Resource {
  /**
   * The events from now on, or after `last_event_id`, until the service ends the stream (it does at a restart) or
   * `options.signal` does. To go
   * on without missing one: ask again with the `id` of the last event whose id is a number.
   * @example
   * for await (const event of client.events.stream({ types: 'decision,kill' })) console.log(event.type, event.data)
   */
  async *stream(
    query?: QueryOf<'get', '/v1/events'>,
    options: RequestOptions = {},
  ): AsyncGenerator<LiveEventDto, void, void> {
    const call = callOf('get', '/v1/events', { query }, { accept: 'text/event-stream' })
    const { value, answer } = await this.transport.send(call, options, async (response) => response.body)
    if (!value) throw unreadable('The stream has no body.', answer.request_id)
    const decoder = new TextDecoder()
    let text = ''
    for await (const chunk of chunksOf(value, options.signal)) {
      text += decoder.decode(chunk, { stream: true })
      const parts = text.split('\n\n')
      text = parts.pop() ?? ''
      for (const part of parts) {
        const event = eventOf(part)
        if (event === 'end') return
        if (event) yield event
      }
    }
  }
}

/** Ends with the stream, or with the signal: an answer that goes on outlives the call that asked for it. */
async function* chunksOf(
  stream: ReadableStream<Uint8Array>,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array, void, void> {
  const reader = stream.getReader()
  const end = () => void reader.cancel().catch(() => {})
  if (signal?.aborted) end()
  signal?.addEventListener('abort', end, { once: true })
  try {
    for (;;) {
      const { done, value } = await reader.read()
      if (done) return
      yield value
    }
  } finally {
    signal?.removeEventListener('abort', end)
    await reader.cancel().catch(() => {})
  }
}

/** One event of the stream; null for a comment, `end` for the last one. */
function eventOf(part: string): LiveEventDto | 'end' | null {
  const lines = part.split('\n')
  if (lines.includes('event: end')) return 'end'
  const data = lines.filter((line) => line.startsWith('data:')).map((line) => line.slice(5).trimStart())
  return data.length === 0 ? null : (JSON.parse(data.join('\n')) as LiveEventDto)
}
