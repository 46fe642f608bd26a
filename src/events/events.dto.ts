import { ApiProperty, ApiPropertyOptional } from '@nestjs/swagger'
import { Transform } from 'class-transformer'
import { ArrayMaxSize, IsArray, Matches } from 'class-validator'
import { Optional, QueryInt } from '../platform/http/fields.js'

/** Names of entry types (`decision`, `kill`), of events (`decision.made`), `checkpoint`, or, to agents, `bundle`. */
export const TYPE_NAME = /^[a-z][a-z_]{0,63}(\.[a-z_]{1,64})?$/
export const MAX_TYPES = 20

/** Which events are wanted. */
export class EventsQuery {
  /** Types of entries (`decision`, `approval`, `kill`, …), names of events (`policy.updated`), or `checkpoint`; with commas between. Absent: everything you may see. */
  @Transform(({ value }: { value: unknown }) => (typeof value === 'string' ? value.split(',') : value))
  @Optional()
  @IsArray()
  @ArrayMaxSize(MAX_TYPES, { message: `must name at most ${MAX_TYPES}` })
  @Matches(TYPE_NAME, { each: true, message: 'must be names of types or events with commas between' })
  @ApiPropertyOptional({ type: String, example: 'decision,kill' })
  types?: string[]

  /** Go on after the event with this id: for clients that cannot send the header `Last-Event-ID`. */
  @QueryInt({ min: -1, max: Number.MAX_SAFE_INTEGER })
  last_event_id?: number
}

/** One live event: a CloudEvent (structured mode) whose data is the log entry, without what can be erased. */
export class LiveEventDto {
  @ApiProperty({ enum: ['1.0'] })
  specversion: string
  /** The index of the entry in the log; `checkpoint-<size>` of a checkpoint. */
  id: string
  /** The origin of the log. */
  source: string
  /** @example "dev.agentguard.decision.made.v1" */
  type: string
  time: string
  /** The agent it is about; absent when it is about none. */
  subject?: string
  datacontenttype: string
  @ApiProperty({ type: 'object', additionalProperties: true })
  data: object
}
