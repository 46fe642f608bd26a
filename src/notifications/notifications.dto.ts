import { ApiProperty } from '@nestjs/swagger'
import { Type } from 'class-transformer'
import {
  ArrayMaxSize,
  ArrayMinSize,
  ArrayUnique,
  IsArray,
  IsDefined,
  IsObject,
  Matches,
  ValidateIf,
  ValidateNested,
} from 'class-validator'
import { EventPatterns } from '../deliveries/deliveries.service.js'
import { Optional, Text } from '../platform/http/fields.js'

const MAX_RECIPIENTS = 20
/** Deliberately narrow: no quotes, comments or lists, so that it is one address to every mail program. */
const ADDRESS = /^(?=.{3,254}$)[A-Za-z0-9._%+'-]{1,64}@([A-Za-z0-9-]{1,63}\.)*[A-Za-z0-9-]{1,63}$/

/** Who is told by e-mail. */
export class EmailNotifications {
  /** @example ["oncall@example.com"] */
  @IsArray({ message: 'must be a list' })
  @ArrayMinSize(1, { message: 'must name at least one address' })
  @ArrayMaxSize(MAX_RECIPIENTS, { message: `must have at most ${MAX_RECIPIENTS} elements` })
  @ArrayUnique({ message: 'must not repeat an address' })
  @Matches(ADDRESS, { each: true, message: 'must be addresses such as oncall@example.com' })
  recipients: string[]

  /** @example ["approval.requested", "approval.escalated", "kill_switch.*", "webhook.disabled"] */
  @EventPatterns()
  events: string[]
}

/** Which channel of a chat is told. */
export class SlackNotifications {
  /**
   * URL of an incoming webhook of Slack, or of a chat that takes the same messages. It is a secret: it is kept
   * encrypted and never shown. Absent: the present one stays.
   * @example "https://hooks.slack.com/services/T000/B000/XXXX"
   */
  @Optional()
  @Text(1, 2048)
  url?: string

  @EventPatterns()
  events: string[]
}

/** Who is told of what. Null: nobody, in this way. */
export class PutNotifications {
  @IsDefined({ message: 'must be an object, or null for none' })
  @ValidateIf((_, value: unknown) => value !== null)
  @IsObject({ message: 'must be an object, or null for none' })
  @ValidateNested()
  @Type(() => EmailNotifications)
  @ApiProperty({ type: EmailNotifications, nullable: true })
  email: EmailNotifications | null

  @IsDefined({ message: 'must be an object, or null for none' })
  @ValidateIf((_, value: unknown) => value !== null)
  @IsObject({ message: 'must be an object, or null for none' })
  @ValidateNested()
  @Type(() => SlackNotifications)
  @ApiProperty({ type: SlackNotifications, nullable: true })
  slack: SlackNotifications | null
}

/** The chat that is told, without its URL. */
export class SlackNotificationsView {
  /** The host that messages go to; the URL itself is a secret. */
  host: string
  events: string[]
}

/** Who is told of what. */
export class Notifications {
  @ApiProperty({ type: EmailNotifications, nullable: true })
  email: EmailNotifications | null

  @ApiProperty({ type: SlackNotificationsView, nullable: true })
  slack: SlackNotificationsView | null

  /** Null: never set. */
  updated_at: Date | null
  updated_by: string | null
}
