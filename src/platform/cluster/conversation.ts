/** What travels between the primary process and a worker. */
type Message =
  | { readonly kind: 'question'; readonly id: number; readonly name: string; readonly body: unknown }
  | { readonly kind: 'answer'; readonly id: number; readonly body?: unknown; readonly error?: string }

/** One end of the channel: `process` in a worker, a `Worker` in the primary. */
interface End {
  send?(message: unknown, callback?: (error: Error | null) => void): boolean
  on(event: 'message', listener: (message: unknown) => void): unknown
}

const MARK = 'agentguard'

/** Questions and answers over Node's channel between processes, in both directions. */
export class Conversation {
  private readonly open = new Map<number, (answer: Extract<Message, { kind: 'answer' }>) => void>()
  private readonly handlers = new Map<string, (body: never) => unknown>()
  private last_id = 0

  constructor(private readonly end: End) {
    end.on('message', (received) => {
      const message = (received as Record<string, Message> | null)?.[MARK]
      if (message?.kind === 'question') void this.reply(message)
      else if (message) this.open.get(message.id)?.(message)
    })
  }

  /** Says how questions of this name are answered. */
  answer<Body>(name: string, handler: (body: Body) => unknown): void {
    this.handlers.set(name, handler)
  }

  /** @throws Error when the other process is gone, fails, or does not answer in time */
  ask<Answer>(name: string, body: unknown, timeout_ms: number): Promise<Answer> {
    const id = ++this.last_id
    return new Promise((resolve, reject) => {
      const end = (settle: () => void): void => {
        clearTimeout(timer)
        this.open.delete(id)
        settle()
      }
      const fail = (text: string) => end(() => reject(new Error(`${name}: ${text}`)))
      const timer = setTimeout(() => fail(`no answer within ${timeout_ms} ms`), timeout_ms)
      this.open.set(id, ({ body: answer, error }) =>
        error === undefined ? end(() => resolve(answer as Answer)) : fail(error),
      )
      this.send({ kind: 'question', id, name, body }, () => fail('the other process is gone'))
    })
  }

  private async reply({ id, name, body }: Extract<Message, { kind: 'question' }>): Promise<void> {
    try {
      const handler = this.handlers.get(name)
      if (!handler) throw new Error('nobody answers this')
      this.send({ kind: 'answer', id, body: await handler(body as never) })
    } catch (error) {
      this.send({ kind: 'answer', id, error: error instanceof Error ? error.message : String(error) })
    }
  }

  private send(message: Message, failed: () => void = () => {}): void {
    try {
      if (!this.end.send) failed()
      else this.end.send({ [MARK]: message }, (error) => error && failed())
    } catch {
      failed() // the channel is closed
    }
  }
}
