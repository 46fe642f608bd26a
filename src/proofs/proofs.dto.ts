import { ApiProperty, ApiPropertyOptional } from '@nestjs/swagger'
import { FAULTS } from '../ledger/tree.service.js'
import { Optional, QueryInt, Text } from '../platform/http/fields.js'

const MAX_SIZE = 999_999_999_999_999

/** Sizes of `GET /ledger/consistency`. */
export class ConsistencyQuery {
  /** Entries of the checkpoint that you hold. */
  @QueryInt({ min: 0, max: MAX_SIZE })
  @ApiProperty({ type: 'integer', minimum: 0, required: true })
  from?: number

  /** Entries of the later checkpoint; default: the newest. */
  @QueryInt({ min: 0, max: MAX_SIZE })
  to?: number
}

/** That a log only grew: RFC 6962 2.1.2. */
export class ConsistencyProof {
  from: number
  to: number
  /** Base64 of 32 bytes each. */
  @ApiProperty({ type: [String] })
  hashes: string[]
  /** The newest checkpoint, a signed note; its size is `to` unless another one was asked for. */
  checkpoint: string
}

/** `GET /logs/{log_id}/proof` with `Accept: application/json`. */
export class EntryProof {
  /** Position in the log, from 0. */
  index: number
  /** The entry's bytes in base64: what is hashed. */
  entry: string
  /** The same as the text answer: a C2SP tlog-proof. */
  proof: string
}

/** Filter of `GET /logs/verify`. */
export class VerifyQuery {
  /** Administrators: the verdict on one agent's entries; absent: on the whole log. An agent asks about itself. */
  @Optional()
  @Text(1, 64)
  @ApiPropertyOptional()
  agent_id?: string
}

class VerifiedCheckpoint {
  /** Entries it covers. */
  size: number
  /** Base64 of the root. */
  root: string
}

/** What reading the whole log again has shown. */
export class Verification {
  /** Null when the whole log was asked about. */
  @ApiProperty({ type: String, nullable: true })
  agent_id: string | null
  valid: boolean
  /** Entries that were read: the agent's, or all of them. */
  total_entries: number
  /** Index of the first entry that is concerned; null when all is well, or when it cannot be said. */
  @ApiProperty({ type: 'integer', nullable: true })
  broken_at: number | null
  /** The newest checkpoint that the entries were held against; null before the first one. */
  @ApiProperty({ type: VerifiedCheckpoint, nullable: true })
  checkpoint: VerifiedCheckpoint | null
  /** What is wrong. */
  @ApiProperty({ type: String, enum: FAULTS, nullable: true })
  reason: string | null
}

/** `?name=` of the key list. */
export class KeysQuery {
  /** Name the keys so in their text: the origin of a log, for tools that want the two equal. */
  @Optional()
  @Text(1, 255)
  @ApiPropertyOptional()
  name?: string
}

/** A key that checkpoints of this installation are or were signed with. */
export class VerifierKey {
  /** The installation, which every log's origin begins with; or the name that was asked for. */
  name: string
  /** C2SP verifier key: `<name>+<key id>+<base64 of type and public key>`. */
  vkey: string
  valid_from: Date
  /** Null: signs now. */
  @ApiProperty({ type: Date, nullable: true })
  valid_to: Date | null
}

/** Why a log is begun to be signed anew. */
export class StartEpoch {
  /** Recorded in the log, and not erasable. @example "restored from the backup of 1 May" */
  @Text(1, 1000)
  reason: string
}

/** A new signed history over the same entries. */
export class Epoch {
  epoch: number
  /** First line of its checkpoints. */
  origin: string
}
