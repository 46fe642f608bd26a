import { ApiPropertyOptional } from '@nestjs/swagger'
import { IsIn } from 'class-validator'
import { Instant, Optional } from '../platform/http/fields.js'

export const EXPORT_FORMATS = ['ndjson', 'json', 'csv'] as const
export type ExportFormat = (typeof EXPORT_FORMATS)[number]

/** What to export, and as what. */
export class ExportLogsQuery {
  /** `ndjson`: a bundle that `agentguard verify` checks. `json`, `csv`: the entries as `GET /logs` shows them. */
  @Optional()
  @IsIn(EXPORT_FORMATS, { message: `must be one of ${EXPORT_FORMATS.join(', ')}` })
  @ApiPropertyOptional({ enum: EXPORT_FORMATS, default: 'ndjson' })
  format?: ExportFormat

  /** Entries at or after this time. A bundle has no holes: it holds every entry between the first and the last. */
  @Optional()
  @Instant()
  @ApiPropertyOptional({ type: String, format: 'date-time' })
  start_time?: Date

  /** Entries at or before this time. */
  @Optional()
  @Instant()
  @ApiPropertyOptional({ type: String, format: 'date-time' })
  end_time?: Date
}
