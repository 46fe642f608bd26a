import type { Tone } from '@/components/layout'
import type { Schemas } from './api'

export type ApprovalStatus = Schemas['Approval']['status']

/** `pending` is the API's word; people read that it waits. */
export const STATUS_WORDS: Readonly<Record<ApprovalStatus, string>> = {
  pending: 'Waiting',
  approved: 'Approved',
  denied: 'Denied',
  expired: 'Expired',
  cancelled: 'Cancelled',
}

export const STATUS_TONES: Readonly<Record<ApprovalStatus, Tone>> = {
  pending: 'warn',
  approved: 'good',
  denied: 'bad',
  expired: 'neutral',
  cancelled: 'neutral',
}

export const approvesOf = ({ votes }: Pick<Schemas['Approval'], 'votes'>) =>
  votes.filter(({ vote }) => vote === 'approve')

/** Whether something granted can still be used. */
export const isUsable = ({ status, grant }: Schemas['Approval'], now: number): boolean =>
  status === 'approved' && grant !== null && grant.used < grant.uses && Date.parse(grant.expires_at) > now

/** Who may decide at a level, in words: `approver or admin (team payments)`. */
export function groupWords({ roles, teams }: Schemas['ApprovalGroup']): string {
  const who = roles.length === 0 ? 'nobody' : roles.join(' or ')
  return teams.length === 0 ? who : `${who} (${teams.length === 1 ? 'team' : 'teams'} ${teams.join(', ')})`
}
