import { ApiProperty, ApiPropertyOptional } from '@nestjs/swagger'
import {
  ArrayMaxSize,
  ArrayMinSize,
  IsArray,
  IsBoolean,
  IsIn,
  IsInt,
  Matches,
  Max,
  Min,
  ValidateIf,
} from 'class-validator'
import { DELIVERY_STATUSES, type DeliveryStatus, EventPatterns } from '../deliveries/deliveries.service.js'
import { Instant, Name, Optional, QueryInt, Text } from '../platform/http/fields.js'
import { MAX_LIMIT, Page } from '../platform/http/page.dto.js'
import { MODES, type Mode } from './message.js'

const DELIVERY_ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}_whk_[A-Za-z0-9_-]{16}$/

/** A new webhook. */
export class CreateWebhook {
  /**
   * What it is for.
   * @example "Approvals to the operations desk"
   */
  @Name()
  name: string

  /**
   * Where events are sent: https, and a host of the public internet (or one that the operator listed in
   * `OUTBOUND_ALLOW`). No redirects are followed.
   * @example "https://hooks.example.com/agentguard"
   */
  @Text(1, 2048)
  url: string

  /**
   * The events that are sent: `*`, all of a kind (`approval.*`), or one (`decision.made`). Needs the permission to read
   * these entries.
   * @example ["approval.*", "kill_switch.*"]
   */
  @EventPatterns()
  events: string[]

  /** Only events about agents of this team. Absent or null: of the whole organization. */
  @ValidateIf((_, value: unknown) => value !== undefined && value !== null)
  @Text(1, 255)
  @ApiPropertyOptional({ type: String, nullable: true })
  team?: string | null

  /** `standard`: Standard Webhooks, `{type, timestamp, data}`. `cloudevents`: CloudEvents 1.0 in structured mode. */
  @Optional()
  @IsIn(MODES, { message: `must be one of ${MODES.join(', ')}` })
  @ApiPropertyOptional({ enum: MODES, default: 'standard' })
  mode?: Mode

  /** Send one at a time in the order of the log: an event that fails holds up those behind it. Default false. */
  @Optional()
  @IsBoolean({ message: 'must be true or false' })
  ordered?: boolean

  /** Also send the erasable part: arguments, context, metadata, before and after. Needs `logs:read`. Default false. */
  @Optional()
  @IsBoolean({ message: 'must be true or false' })
  include_payload?: boolean
}

/** What changes; absent fields stay as they are. */
export class UpdateWebhook {
  @Optional()
  @Name()
  name?: string

  @Optional()
  @Text(1, 2048)
  url?: string

  @Optional()
  @EventPatterns()
  events?: string[]

  /** Null: events of the whole organization. */
  @ValidateIf((_, value: unknown) => value !== undefined && value !== null)
  @Text(1, 255)
  @ApiPropertyOptional({ type: String, nullable: true })
  team?: string | null

  @Optional()
  @IsIn(MODES, { message: `must be one of ${MODES.join(', ')}` })
  @ApiPropertyOptional({ enum: MODES })
  mode?: Mode

  @Optional()
  @IsBoolean({ message: 'must be true or false' })
  ordered?: boolean

  @Optional()
  @IsBoolean({ message: 'must be true or false' })
  include_payload?: boolean

  /** False stops it, and cancels what waits. True starts it again, also after it was disabled by itself. */
  @Optional()
  @IsBoolean({ message: 'must be true or false' })
  is_enabled?: boolean
}

/** How long the old secret goes on signing beside the new one. */
export class RotateWebhookSecret {
  /** Hours, 0 to 168. Zero when the old secret is known to others. Default 24. */
  @Optional()
  @IsInt({ message: 'must be a whole number' })
  @Min(0, { message: 'must be at least 0' })
  @Max(168, { message: 'must be at most 168' })
  overlap_hours?: number
}

/** Which events are sent again: these deliveries, or everything of a time that the webhook asks for. */
export class ReplayWebhook {
  /** Up to 100 deliveries of this webhook. Give these, or `from` and `to`. */
  @Optional()
  @IsArray({ message: 'must be a list' })
  @ArrayMinSize(1, { message: 'must name at least one delivery' })
  @ArrayMaxSize(100, { message: 'must have at most 100 elements' })
  @Matches(DELIVERY_ID, { each: true, message: 'must be ids of deliveries of a webhook' })
  delivery_ids?: string[]

  /** Entries of the log from this time on, also ones that were never sent. */
  @Optional()
  @Instant()
  from?: Date

  /** Up to this time, included. Absent: now. */
  @Optional()
  @Instant()
  to?: Date
}

/** What will be sent again. */
export class ReplayedWebhook {
  /** How many deliveries are due again. */
  queued: number

  /** Set when the time has more entries than one call looks at: where the next call begins. */
  next_from: Date | null
}

/** Which deliveries to list. */
export class ListDeliveries extends Page {
  /** How many to answer with. */
  @QueryInt({ min: 1, max: MAX_LIMIT, default: 100 })
  declare limit?: number

  @Optional()
  @IsIn(DELIVERY_STATUSES, { message: `must be one of ${DELIVERY_STATUSES.join(', ')}` })
  @ApiPropertyOptional({ enum: DELIVERY_STATUSES })
  status?: DeliveryStatus
}

/** An endpoint that receives events, without its secrets. */
export class Webhook {
  /** @example "whk_3q2-7wQcVh1oT0aB" */
  webhook_id: string
  name: string
  url: string
  events: string[]

  /** Null: events of the whole organization. */
  team: string | null

  @ApiProperty({ enum: MODES })
  mode: string
  ordered: boolean
  include_payload: boolean
  is_enabled: boolean

  /** `requested`; `gone`: the receiver answered 410; `failing`: nothing arrived for three days. Null while enabled. */
  disabled_reason: string | null

  /** Since when every attempt has failed; null when the last one arrived. */
  failing_since: Date | null
  created_at: Date
  updated_at: Date
  created_by: string
}

/** A webhook with the secret that its messages are signed with. */
export class WebhookWithSecret extends Webhook {
  /**
   * Shown this once; kept encrypted. Verify `webhook-signature` with it (docs/webhooks.md).
   * @example "whsec_<base64 of 32 bytes>"
   */
  secret: string
}

/** A test event was recorded and is on its way. */
export class TestedWebhook {
  /** @example "webhook.tested" */
  event: string
}

/** One entry on its way to the webhook. */
export class WebhookDelivery {
  /** The header `webhook-id`: the same for every attempt and replay. */
  delivery_id: string
  event: string
  log_id: string
  log_index: number

  @ApiProperty({ enum: DELIVERY_STATUSES })
  status: string

  /** Attempts so far, the present one included. */
  attempts: number

  /** The receiver's last HTTP status; null when there was no answer. */
  response_status: number | null

  /** Of the last attempt, in milliseconds. */
  latency_ms: number | null

  /** Why the last attempt failed. */
  error: string | null

  /** Null unless it is waiting. */
  next_attempt_at: Date | null
  last_attempt_at: Date | null
  delivered_at: Date | null
  created_at: Date
}
