import { ApiProperty } from '@nestjs/swagger'
import { IsIn } from 'class-validator'

/** Classes of retention, in days: 90 days, 1, 2 and 7 years. */
export const RETENTION_DAYS = [90, 365, 730, 2555] as const

export class UpdateRetention {
  /** How long coming entries are kept. What is in the log already keeps the time it was written with. */
  @IsIn(RETENTION_DAYS, { message: `must be one of ${RETENTION_DAYS.join(', ')}` })
  @ApiProperty({ enum: RETENTION_DAYS, type: Number })
  retention_days: (typeof RETENTION_DAYS)[number]
}

export class Retention {
  /** How long coming entries are kept, in days. */
  @ApiProperty({ enum: RETENTION_DAYS, type: Number })
  retention_days: number
  /** Whether this installation removes entries at the end of their time, and whether it archives them first. */
  @ApiProperty({ enum: ['off', 'archive', 'drop'] })
  expiry: 'off' | 'archive' | 'drop'
  /** Entries of this organization that have expired; their hashes are kept. */
  expired_entries: number
}

export class ExpiryRun {
  /** Entries that expired, of all organizations. */
  expired: number
  /** Months of a class that were removed. */
  dropped: number
  /** Months that wait: something in them is not signed or not archived yet, or is being read. The log says what. */
  waiting: number
}
