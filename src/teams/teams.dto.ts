import { ApiProperty } from '@nestjs/swagger'

/** Those who answer for some agents. */
export class Team {
  /** @example "research" */
  team: string

  /** Active agents. */
  @ApiProperty({ type: 'integer' })
  agents: number

  /** Agents that were stopped or deleted. */
  @ApiProperty({ type: 'integer' })
  inactive_agents: number

  /** Administrator keys that are held to it and not revoked. */
  @ApiProperty({ type: 'integer' })
  admin_keys: number

  /** Version of its policy; null without one. */
  @ApiProperty({ type: 'integer', nullable: true })
  policy_version: number | null

  created_at: Date
}
