import { ApiProperty, ApiPropertyOptional } from '@nestjs/swagger'
import { APPROVAL_STATUSES } from '../core/approvals/transition.js'
import { AccessEvaluation } from './authzen.dto.js'

/**
 * The wire format of the AuthZEN Access Request and Approval Profile (Draft 1). These classes document it; the service
 * reads it, because the standard wants unknown members ignored.
 */

/** The evaluation that said no. */
export class AccessDenial {
  /** `context.evaluation_id` of that answer. */
  @ApiProperty({ type: String, format: 'uuid' })
  evaluation_id: string
}

/** Asks people for what an evaluation refused: the same subject, action, resource and context as then. */
export class AccessRequest extends AccessEvaluation {
  @ApiProperty({ type: AccessDenial })
  denial: AccessDenial
}

/** Why the request is withdrawn. */
export class CancelAccessRequest {
  @ApiPropertyOptional({ type: String, maxLength: 2000 })
  reason?: string
  @ApiPropertyOptional({ type: String, maxLength: 2000 })
  comment?: string
}

/** Where things are done with a request. */
export class AccessTaskLinks {
  /** `POST` withdraws it; absent when it does not wait any more. */
  @ApiPropertyOptional({ type: String, format: 'uri' })
  cancel?: string
}

/** A request that people decide about. */
export class AccessTask {
  /** The approval's id. */
  @ApiProperty({ type: String, example: 'apr_3q2-7wQcVh1oT0aB' })
  id: string
  /** Anything but `approved` is not approved. */
  @ApiProperty({ enum: APPROVAL_STATUSES })
  status: (typeof APPROVAL_STATUSES)[number]
  @ApiProperty({ type: String, format: 'uri' })
  status_endpoint: string
  /** When it ends if nobody decides. */
  @ApiProperty({ type: String, format: 'date-time' })
  expires_at: string
  @ApiProperty({ type: AccessTaskLinks })
  links: AccessTaskLinks
}

/** What goes into `context.approval` of the same evaluation, unchanged. */
export class AccessApproval {
  @ApiProperty({ type: String, example: 'apr_3q2-7wQcVh1oT0aB' })
  id: string
  @ApiProperty({ type: String, format: 'date-time' })
  approved_at: string
  @ApiProperty({ type: String, format: 'date-time' })
  approved_until: string
}

/** What follows from a decision. */
export class AccessResult {
  /** Only present when approved. `reevaluate`: ask again with `context.approval`. */
  @ApiPropertyOptional({ enum: ['reevaluate'] })
  mode?: 'reevaluate'
  @ApiPropertyOptional({ type: AccessApproval })
  approval?: AccessApproval
  /** What the person who decided said. */
  @ApiPropertyOptional({ type: String })
  reason?: string
}

export class AccessTaskAnswer {
  @ApiProperty({ type: AccessTask })
  task: AccessTask
  /** Absent while it waits. */
  @ApiPropertyOptional({ type: AccessResult })
  result?: AccessResult
}
