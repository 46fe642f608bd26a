import { ApiProperty, ApiPropertyOptional } from '@nestjs/swagger'
import { Instant, Optional, Text } from '../platform/http/fields.js'

/** Why a payload is erased. */
export class EraseEntry {
  /** Stands in the log for good: name the request or the law, not the person. */
  @Text(1, 500)
  @ApiProperty({ example: 'request 4711 of a data subject' })
  reason: string
}

/** Which payloads of an agent are erased, and why. */
export class EraseAgent extends EraseEntry {
  /** Only of entries up to this time. Default: all there are. */
  @Optional()
  @Instant()
  @ApiPropertyOptional({ type: String, format: 'date-time' })
  end_time?: Date
}

/** What was erased. */
export class Erasure {
  /** Payloads that are gone now. 0: there were none left, and nothing was recorded. */
  @ApiProperty({ example: 12 })
  erased: number
  /** Entries of type `redaction` that record it: one for every 5,000 payloads. */
  @ApiProperty({ example: 1 })
  recorded: number
}
