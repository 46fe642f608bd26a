import type { EnforceAnswer, EnforceDto, ReportActionDto } from './generated/openapi.js'

/** What an agent asks. With `approval_id`, the grant of a person is used up by this one request. */
export type EnforceRequest = EnforceDto

/** The answer; `approval_id` names what a person has to decide when `status` is `pending`. */
export type Decision = EnforceAnswer

/** What an agent says it did. */
export type ActionReport = ReportActionDto

export type { ApprovalState } from './generated/openapi.js'
