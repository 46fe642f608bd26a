import { ApiProperty, ApiPropertyOptional } from '@nestjs/swagger'
import { IsBoolean, IsIn } from 'class-validator'
import { KILL_SCOPES, type KillScope } from '../core/policy/stages/kill.js'
import { Optional, QueryBoolean, Text } from '../platform/http/fields.js'
import { Page } from '../platform/http/page.dto.js'

const Scope = () => IsIn(KILL_SCOPES, { message: `must be one of ${KILL_SCOPES.join(', ')}` })
const ApiScope = () =>
  ApiProperty({
    enum: KILL_SCOPES,
    description: 'What is stopped. `installation` is for the root key alone.',
  })

/** Stops something at once. */
export class ActivateKillSwitch {
  @Scope()
  @ApiScope()
  scope: KillScope

  /**
   * The environment (`dev`, `stage`, `prod`), team, agent id, key id, or action pattern, as `scope` says. A pattern is
   * read as widely as in a deny rule. Not given for `installation` and `organization`.
   * @example "agt_3q2-7wQcVh1oT0aB"
   */
  @Optional()
  @Text(1, 256)
  @ApiPropertyOptional({ type: String, minLength: 1, maxLength: 256 })
  target?: string

  /**
   * Why. Kept in the log for good, so name no secrets.
   * @example "The agent sends mail to everybody"
   */
  @Text(1, 1000)
  reason: string
}

/** Lets something go on: a kill switch by its id, or by its scope and target. */
export class DeactivateKillSwitch {
  /** @example "kil_3q2-7wQcVh1oT0aB" */
  @Optional()
  @Text(1, 64)
  @ApiPropertyOptional({ type: String })
  kill_id?: string

  @Optional()
  @Scope()
  @ApiPropertyOptional({ enum: KILL_SCOPES })
  scope?: KillScope

  @Optional()
  @Text(1, 256)
  @ApiPropertyOptional({ type: String, minLength: 1, maxLength: 256 })
  target?: string

  /**
   * Why it may go on. Kept in the log for good.
   * @example "The prompt is corrected and was reviewed"
   */
  @Text(1, 1000)
  reason: string
}

/** The first of two people who want an organization-wide kill switch to end. */
export class KillSwitchRelease {
  /** Who asked first. Somebody else completes it. */
  by: string
  reason: string
  at: Date
  /** After this it counts no more: 15 minutes. */
  expires_at: Date
}

/** Something that is stopped, or was. */
export class KillSwitch {
  /** @example "kil_3q2-7wQcVh1oT0aB" */
  kill_id: string
  @ApiScope()
  scope: KillScope
  @ApiProperty({ type: String, nullable: true })
  target: string | null
  @ApiProperty({ enum: ['active', 'ended'] })
  state: 'active' | 'ended'
  reason: string
  /** Id of the member or administrator key, or `root`. */
  activated_by: string
  activated_at: Date
  /** Set while a second person is waited for. */
  @ApiProperty({ type: KillSwitchRelease, nullable: true })
  release: KillSwitchRelease | null
  @ApiProperty({ type: String, nullable: true })
  deactivated_by: string | null
  @ApiProperty({ type: String, nullable: true })
  deactivated_reason: string | null
  @ApiProperty({ type: Date, nullable: true })
  deactivated_at: Date | null
}

/** Which kill switches to list. */
export class ListKillSwitches extends Page {
  /** Also list those that have ended. */
  @QueryBoolean()
  include_ended?: boolean
}

/** How kill switches of this organization work. */
export class KillSwitchSettings {
  /** True: two different people end an organization-wide kill switch, within 15 minutes. */
  @IsBoolean({ message: 'must be true or false' })
  two_people: boolean
}

/** Tries the kill switch on one agent. */
export class DrillKillSwitch {
  /**
   * The agent that is stopped for a moment; it must be allowed `drill:kill-switch`, and what waits for a person on its
   * behalf is cancelled. Absent: an agent made for this, `kill-drill-canary`, which is used again the next time.
   * @example "agt_3q2-7wQcVh1oT0aB"
   */
  @Optional()
  @Text(1, 64)
  @ApiPropertyOptional({ type: String, minLength: 1, maxLength: 64 })
  agent_id?: string
}

const Milliseconds = () => ApiProperty({ type: 'integer', nullable: true })

/** How long a kill switch took to stop an agent, in whole milliseconds since it was asked for. */
export class KillSwitchDrill {
  /** Of the switch that was activated and has ended. */
  kill_id: string
  agent_id: string
  /** Whether the agent was denied, and allowed nothing that it asked after the commit or that follows the first denial in the log. */
  held: boolean
  /** Decisions that were made for it, before and after. */
  @ApiProperty({ type: 'integer' })
  decisions: number
  /** Until the switch was committed. */
  @ApiProperty({ type: 'integer' })
  commit_ms: number
  /** Until the first answer that denied because of it; null: there was none in 5 seconds. */
  @Milliseconds()
  first_denied_ms: number | null
  /** Until the last answer that still allowed; null: none came after it was asked for. */
  @Milliseconds()
  last_allowed_ms: number | null
  /** Answers that allowed although they must not: 0. */
  @ApiProperty({ type: 'integer' })
  allowed_after: number
}
