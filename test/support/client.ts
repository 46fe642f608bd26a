import { setTimeout as sleep } from 'node:timers/promises'

/** An answer as a client sees it. */
export interface Answer<T> {
  readonly status: number
  readonly text: string
  /** The parsed body; null when there is none or it is not JSON. */
  readonly body: T
  readonly headers: Headers
}

/** A problem document as tests compare it. */
export interface ProblemBody {
  readonly type: string
  readonly status: number
  readonly code: string
  readonly title: string
  readonly detail: string
  readonly request_id: string
  readonly errors?: readonly { path: string; message: string }[]
}

/** Sent headers by name. */
type Sent = Readonly<Record<string, string>>

interface Sending {
  readonly body?: unknown
  readonly text?: string
  readonly headers?: Sent | undefined
}

const MOST_AGAIN = 3

/** JSON over real HTTP with the headers of one principal. */
export class Client {
  constructor(
    readonly url: string,
    readonly headers: Sent = {},
  ) {}

  /** The same server with other headers. */
  with(headers: Sent): Client {
    return new Client(this.url, headers)
  }

  /**
   * `text` is sent as it is, `body` as JSON. Where PostgreSQL was too busy it is sent again, as the answer says to, with a
   * line that says so; where it stays away, that is the answer. A write that such an answer hides is then there twice,
   * which fails the tests that count; a decision is sent once, because its answers are what is tested.
   */
  async call<T = ProblemBody>(method: string, path: string, sending: Sending = {}): Promise<Answer<T>> {
    let answer = await this.once<T>(method, path, sending)
    for (let again = 1; isControl(path) && isTooBusy(answer) && again <= MOST_AGAIN; again++) {
      process.stderr.write(`${method} ${path} could not be answered: asked again (${again})\n`)
      await sleep(1_000 * Number(answer.headers.get('Retry-After')))
      answer = await this.once<T>(method, path, sending)
    }
    return answer
  }

  private async once<T>(method: string, path: string, { body, text, headers }: Sending): Promise<Answer<T>> {
    const sent = text ?? (body === undefined ? undefined : JSON.stringify(body))
    const response = await fetch(this.url + path, {
      method,
      headers: {
        ...this.headers,
        ...(sent === undefined ? {} : { 'Content-Type': 'application/json' }),
        ...headers,
      },
      body: sent ?? null,
    })
    // What goes on and on has no end to wait for: that it began is the answer.
    if (isStream(response)) await response.body?.cancel()
    const received = isStream(response) ? '' : await response.text()
    return {
      status: response.status,
      text: received,
      body: (isJson(response) ? JSON.parse(received) : null) as T,
      headers: response.headers,
    }
  }

  get<T = ProblemBody>(path: string, headers?: Sent): Promise<Answer<T>> {
    return this.call('GET', path, { headers })
  }

  post<T = ProblemBody>(path: string, body: unknown, headers?: Sent): Promise<Answer<T>> {
    return this.call('POST', path, { body, headers })
  }

  put<T = ProblemBody>(path: string, body: unknown, headers?: Sent): Promise<Answer<T>> {
    return this.call('PUT', path, { body, headers })
  }

  patch<T = ProblemBody>(path: string, body: unknown): Promise<Answer<T>> {
    return this.call('PATCH', path, { body })
  }

  delete<T = ProblemBody>(path: string): Promise<Answer<T>> {
    return this.call('DELETE', path)
  }
}

const isControl = (path: string): boolean => !/^(\/v1)?\/(enforce|access)/.test(path)

const isTooBusy = ({ status, text }: Answer<unknown>): boolean =>
  status === 503 && text.includes('The database cannot be reached or is too busy. Try again.')

const isJson = (response: Response): boolean =>
  /^application\/(problem\+)?json/.test(response.headers.get('Content-Type') ?? '')

const isStream = (response: Response): boolean =>
  (response.headers.get('Content-Type') ?? '').startsWith('text/event-stream')

/** What an answer says, without what names the request and the thing: equal for a foreign and for a missing thing. */
export function withoutNames(answer: Answer<unknown>, ...names: readonly string[]): unknown {
  const id = answer.headers.get('X-Request-ID') ?? ''
  const text = [id, ...names].reduce((rest, name) => rest.replaceAll(name, '·'), answer.text)
  const headers = [...answer.headers].filter(
    ([name]) => !['date', 'x-request-id', 'x-response-time', 'content-length'].includes(name),
  )
  return { status: answer.status, text, headers }
}
