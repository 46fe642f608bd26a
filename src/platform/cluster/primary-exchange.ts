import { CounterExchange, type CounterReport, type CounterTotal } from '../throttling/counter-exchange.js'
import type { Conversation } from './conversation.js'

const TIMEOUT_MS = 1_000

/** Shares counters among the workers of one service, through their primary process. */
export class PrimaryExchange extends CounterExchange {
  readonly place = 'the primary process'

  constructor(private readonly primary: Conversation) {
    super()
  }

  report(reports: readonly CounterReport[]): Promise<CounterTotal[]> {
    return this.primary.ask('counters', reports, TIMEOUT_MS)
  }
}
