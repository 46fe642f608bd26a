import type { EnforceAnswer, EnforceDto, ReportActionDto } from './generated/openapi.js'

/** What an agent asks. With `approval_id`, the grant of a person is used up by this one request. */
export type EnforceRequest = EnforceDto & { approval_id?: string }

/** The answer; `approval_id` names what a person has to decide when `status` is `pending`. */
export type Decision = EnforceAnswer & { approval_id?: string | null }

/** What an agent says it did. */
export type ActionReport = ReportActionDto

export type ApprovalStatus = 'pending' | 'approved' | 'denied' | 'expired' | 'cancelled'

/** Where an approval stands, as its agent sees it. */
export interface ApprovalState {
  readonly approval_id: string
  readonly status: ApprovalStatus
  readonly decision_reason?: string | null
  readonly decision_by?: string | null
  readonly decision_at?: string | null
}
