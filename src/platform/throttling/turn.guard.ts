import {
  applyDecorators,
  type CanActivate,
  type ExecutionContext,
  Injectable,
  SetMetadata,
  UseGuards,
} from '@nestjs/common'
import { Reflector } from '@nestjs/core'
import type { Request, Response } from 'express'
import type { WithPrincipal } from '../access/principal.js'
import { DEFAULT_BODY_LIMIT } from '../http/body.js'
import { whenClosed } from '../http/when-closed.js'
import { costOf, type Turn, Turns } from './turns.js'

const ITEMS = 'agentguard:items-in-turn'

/** Set by who has taken the turn already (the fast lane), and read by who ends it before its answer has left. */
export interface WithTurn {
  turn?: Turn
}

/** Waits for the organization's turn, before the body is read; the turn ends with the answer. */
@Injectable()
export class TurnGuard implements CanActivate {
  constructor(
    private readonly turns: Turns,
    private readonly reflector: Reflector,
  ) {}

  async canActivate(context: ExecutionContext): Promise<boolean> {
    const request = context.switchToHttp().getRequest<Request & WithPrincipal & WithTurn>()
    const response = context.switchToHttp().getResponse<Response>()
    if (request.turn || !request.principal) return true
    const items = this.reflector.get<number>(ITEMS, context.getHandler())
    const { 'content-length': length, 'content-encoding': encoding } = request.headers
    // What is packed may hold as much as any.
    const announced = length === undefined || encoding !== undefined ? null : Number(length)
    const turn = await this.turns.take(request.principal.org_id, costOf(announced, items, DEFAULT_BODY_LIMIT))
    request.turn = turn
    whenClosed(response, () => turn.end())
    return true
  }
}

/** This route's requests are worked on in turns between organizations. @param items of a batch, at most */
export const InTurn = ({ items }: { items: number } = { items: 1 }) =>
  applyDecorators(SetMetadata(ITEMS, items), UseGuards(TurnGuard))
