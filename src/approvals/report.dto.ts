import { ApiProperty } from '@nestjs/swagger'
import { QueryInt } from '../platform/http/fields.js'

export class ApprovalReportQuery {
  /** Of the requests of how many days. */
  @QueryInt({ min: 1, max: 365, default: 30 })
  days?: number
}

/** How quickly, and which way. */
export class DecisionTimes {
  @ApiProperty({ type: 'integer' })
  approved: number
  @ApiProperty({ type: 'integer' })
  denied: number
  /** approved / (approved + denied); null without either. */
  @ApiProperty({ type: Number, nullable: true })
  approval_rate: number | null
  /** Milliseconds from the request, half of them took less. */
  @ApiProperty({ type: 'integer', nullable: true })
  p50_ms: number | null
  @ApiProperty({ type: 'integer', nullable: true })
  p95_ms: number | null
  /** Decided within three seconds: hardly read. */
  @ApiProperty({ type: 'integer' })
  under_3_s: number
}

export class ApproverTimes extends DecisionTimes {
  /** Who stands behind the votes: `member:…`, `key:…` or `root`. */
  person: string
}

export class WorkflowTimes extends DecisionTimes {
  /** The strictest one by which a request was decided. */
  workflow: string
}

/** Whether people really decide, or only click. */
export class ApprovalReport extends DecisionTimes {
  since: Date
  @ApiProperty({ type: 'integer' })
  requested: number
  @ApiProperty({ type: 'integer' })
  pending: number
  @ApiProperty({ type: 'integer' })
  expired: number
  @ApiProperty({ type: 'integer' })
  cancelled: number
  /** That came to a higher level, whatever became of them. */
  @ApiProperty({ type: 'integer' })
  escalated: number
  /** By votes, most first. */
  @ApiProperty({ type: [ApproverTimes] })
  approvers: ApproverTimes[]
  @ApiProperty({ type: [WorkflowTimes] })
  workflows: WorkflowTimes[]
}
