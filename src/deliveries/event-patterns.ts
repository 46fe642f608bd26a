import { applyDecorators } from '@nestjs/common'
import { ApiProperty } from '@nestjs/swagger'
import { ArrayMaxSize, ArrayMinSize, ArrayUnique, IsArray, Matches } from 'class-validator'
import { EVENT_PATTERN } from './event-filter.js'

const MAX_PATTERNS = 50

/** Field of a DTO: the events that are wanted, such as `*`, `approval.*` or `decision.made`; 1 to 50, each once. */
export const EventPatterns = () =>
  applyDecorators(
    IsArray({ message: 'must be a list' }),
    ArrayMinSize(1, { message: 'must name at least one event' }),
    ArrayMaxSize(MAX_PATTERNS, { message: `must have at most ${MAX_PATTERNS} elements` }),
    ArrayUnique({ message: 'must not repeat an event' }),
    Matches(EVENT_PATTERN, { each: true, message: 'must be events such as *, approval.* or decision.made' }),
    ApiProperty({ type: [String], minItems: 1, maxItems: MAX_PATTERNS, uniqueItems: true }),
  )
