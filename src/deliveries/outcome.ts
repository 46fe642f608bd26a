import { type OutboundAnswer, OutboundError } from '../platform/outbound/outbound.service.js'
import type { Outcome } from './channel.js'

/**
 * What came of a POST to a receiver that is never disabled: everything but a 2xx is tried again.
 * @param who answered, for people: `the receiver`
 * @throws what is a fault of ours
 */
export async function outcomeOf(posted: Promise<OutboundAnswer>, who: string): Promise<Outcome> {
  try {
    const { status: response_status, retry_after } = await posted
    if (response_status >= 200 && response_status < 300) return { result: 'delivered', response_status }
    return { result: 'failed', response_status, retry_after, error: `${who} answered ${response_status}` }
  } catch (error) {
    if (error instanceof OutboundError) return { result: 'failed', error: error.message }
    throw error
  }
}
