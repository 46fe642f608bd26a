import { ApiProperty, ApiPropertyOptional } from '@nestjs/swagger'
import { IsBoolean, IsIn } from 'class-validator'
import { RISK_LEVELS, type RiskLevel } from '../core/risk.js'
import {
  EnvironmentField,
  type EnvironmentName,
  ENVIRONMENTS,
  Name,
  Optional,
  QueryBoolean,
  QueryInt,
  RiskField,
} from '../platform/http/fields.js'
import { MAX_OFFSET, Page } from '../platform/http/page.dto.js'

/** A new agent. */
export class CreateAgent {
  /**
   * What people call it; need not be unique.
   * @example "research-bot"
   */
  @Name()
  name: string

  /**
   * The team that answers for it; made when it is new.
   * @example "research"
   */
  @Name()
  owner_team: string

  /** @example "dev" */
  @EnvironmentField()
  environment: EnvironmentName

  /**
   * How much harm it can do. What people must allow a risky agent waits for a stricter workflow, see
   * `PUT /approvals/settings`. Null, as when it is left out: nobody has rated it.
   * @example "high"
   */
  @RiskField()
  risk_level?: RiskLevel | null
}

/** What to change; what is left out stays. */
export class UpdateAgent {
  /** @example "research-bot" */
  @Optional()
  @Name()
  name?: string

  /** @example "research" */
  @Optional()
  @Name()
  owner_team?: string

  /** @example "prod" */
  @Optional()
  @EnvironmentField()
  environment?: EnvironmentName

  /**
   * How much harm it can do. Concerns what is asked for from now on: what waits keeps its workflow, and what people
   * granted stays granted. Null: not rated any more.
   * @example "critical"
   */
  @RiskField()
  risk_level?: RiskLevel | null

  /**
   * False stops the agent: its keys are a 401 until it is active again. Keys that were revoked, as by deleting the
   * agent, stay revoked.
   */
  @Optional()
  @IsBoolean({ message: 'must be true or false' })
  is_active?: boolean
}

const RISK_FILTERS = [...RISK_LEVELS, 'unrated'] as const

/** Which agents to list. */
export class ListAgents extends Page {
  /** The same as `offset`; give one of them. */
  @QueryInt({ min: 0, max: MAX_OFFSET, default: 0 })
  skip?: number

  /** Only agents of this environment. */
  @Optional()
  @EnvironmentField()
  environment?: EnvironmentName

  /** Only agents of this team. */
  @Optional()
  @Name()
  owner_team?: string

  /** Only agents of this risk; `unrated` those that nobody has rated. */
  @Optional()
  @IsIn(RISK_FILTERS, { message: `must be one of ${RISK_FILTERS.join(', ')}` })
  @ApiPropertyOptional({ enum: RISK_FILTERS })
  risk_level?: RiskLevel | 'unrated'

  /** Only agents with exactly this name. */
  @Optional()
  @Name()
  name?: string

  /** Also list inactive agents, which includes deleted ones. */
  @QueryBoolean()
  include_inactive?: boolean
}

/** A program that asks before it acts. */
export class Agent {
  /** @example "agt_3q2-7wQcVh1oT0aB" */
  agent_id: string

  /** @example "research-bot" */
  name: string

  /** @example "research" */
  owner_team: string

  @ApiProperty({ enum: ENVIRONMENTS })
  environment: string

  /** How much harm it can do; null: nobody has rated it. */
  @ApiProperty({ type: String, enum: RISK_LEVELS, nullable: true })
  risk_level: string | null

  /** False when it was stopped or deleted. */
  is_active: boolean

  created_at: Date

  updated_at: Date
}

/** A new agent with its first key. */
export class CreatedAgent extends Agent {
  /**
   * The secret, for the header `X-AGENT-KEY`. Shown this once; only its hash is kept.
   * @example "agk_<43 characters and a checksum of 6>"
   */
  api_key: string

  /** @example "key_3q2-7wQcVh1oT0aB" */
  key_id: string

  /**
   * How the key begins, to recognise it by.
   * @example "agk_0aB3xYz9"
   */
  key_prefix: string
}
