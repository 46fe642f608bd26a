import { ApiProperty } from '@nestjs/swagger'

/** A data key: seals the payloads of an organization's month. The key itself is never shown. */
export class DataKey {
  @ApiProperty({ format: 'uuid' })
  dek_id: string
  /** First day of the month whose payloads it seals. */
  @ApiProperty({ example: '2026-01-01' })
  month: string
}

/** How many data keys are under one key-encryption key. */
export class DataKeyCount {
  /** The first 16 hex digits of a hash of the key-encryption key. */
  kek_id: string
  /** Whether that is the present `LEDGER_KEK`. */
  present: boolean
  count: number
}
