/** The permissions that pages look at; `src/core/permissions.ts` has them all. */
export type Permission =
  | 'agents:read'
  | 'approvals:decide'
  | 'approvals:read'
  | 'config-logs:read'
  | 'events:read'
  | 'kill-switch:read'
  | 'kill-switch:write'
  | 'logs:read'
  | 'members:read'
  | 'organization:write'
  | 'reports:read'
  | 'webhooks:read'
  | 'webhooks:write'

/** A page of the navigation, and what its reader needs. */
export interface Place {
  readonly href: string
  readonly label: string
  readonly permission: Permission
}

export const PLACES: readonly Place[] = [
  { href: '/approvals/', label: 'Approvals', permission: 'approvals:read' },
  { href: '/approval-quality/', label: 'Approval quality', permission: 'reports:read' },
  { href: '/kill-switch/', label: 'Kill switch', permission: 'kill-switch:read' },
  { href: '/webhooks/', label: 'Webhooks', permission: 'webhooks:read' },
]
