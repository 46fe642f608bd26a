import {
  applyDecorators,
  type CanActivate,
  type ExecutionContext,
  Injectable,
  UseGuards,
} from '@nestjs/common'
import type { Request, Response } from 'express'
import type { WithPrincipal } from '../access/principal.js'
import { whenClosed } from '../http/when-closed.js'
import { TURN_DEFAULTS, Turns } from './turns.js'

/**
 * An answer of several megabytes stays in memory until its reader has taken it, so these are how many a process holds
 * (twice that when organizations that hold none come in), however many read slowly.
 */
const LARGE_ANSWERS = {
  ...TURN_DEFAULTS,
  all: 8,
  shared: 8,
  least: 2,
  busiest: 2,
  max_waiting: 64,
  max_wait_ms: 2_000,
  refusal: 'not_ready',
} as const
/** Whoever takes longer to read an answer is cut off: others of its organization wait for the place. */
const READ_WITHIN_MS = 60_000

/** Holds a place from before the answer is made until it has been read. */
@Injectable()
export class LargeAnswerGuard implements CanActivate {
  private readonly turns = new Turns(LARGE_ANSWERS)

  async canActivate(context: ExecutionContext): Promise<boolean> {
    const { principal } = context.switchToHttp().getRequest<Request & WithPrincipal>()
    const response = context.switchToHttp().getResponse<Response>()
    if (!principal) return true
    const turn = await this.turns.take(principal.org_id, 1)
    const late = setTimeout(() => response.destroy(), READ_WITHIN_MS).unref()
    whenClosed(response, () => {
      clearTimeout(late)
      turn.end()
    })
    return true
  }
}

/** This route's answers may have megabytes: few are held at once, in turns between organizations. */
export const LargeAnswer = () => applyDecorators(UseGuards(LargeAnswerGuard))
