import { applyDecorators, type Type } from '@nestjs/common'
import { ApiOkResponse } from '@nestjs/swagger'
import type { Response } from 'express'
import { QueryInt } from './fields.js'

export const DEFAULT_LIMIT = 100
export const MAX_LIMIT = 1000
/** What PostgreSQL and Prisma take as an integer. */
export const MAX_OFFSET = 2_147_483_647

/** Which part of a list is wanted (C27). */
export class Page {
  /** How many to answer with. */
  @QueryInt({ min: 1, max: MAX_LIMIT, default: DEFAULT_LIMIT })
  limit?: number

  /** How many to leave out from the beginning. */
  @QueryInt({ min: 0, max: MAX_OFFSET, default: 0 })
  offset?: number
}

/** A page of a list and how long the whole list is. */
export interface Listed<T> {
  readonly items: T[]
  readonly total: number
}

/** The bare array as the body and the length of the whole list as `X-Total-Count` (C21). */
export function sendPage<T>(response: Response, { items, total }: Listed<T>): T[] {
  response.setHeader('X-Total-Count', String(total))
  return items
}

/** Documents a route that answers with `sendPage`. */
export const ApiPage = (item: Type) =>
  applyDecorators(
    ApiOkResponse({
      type: item,
      isArray: true,
      headers: {
        'X-Total-Count': { description: 'Length of the whole list.', schema: { type: 'integer' } },
      },
    }),
  )
