import type { Permission } from '../core/permissions.js'

/** `*`, `kill_switch.*`, or one event such as `decision.made`. */
export const EVENT_PATTERN = /^(\*|[a-z_]{1,40}\.(\*|[a-z_]{1,40}(\.[a-z_]{1,40})?))$/

/** Addressed to one destination alone, whatever it asked for. */
export const TEST_EVENT = 'webhook.tested'

/** Whether one of the patterns asks for an event. */
export const matches = (patterns: readonly string[], event: string): boolean =>
  patterns.some(
    (pattern) =>
      pattern === '*' ||
      pattern === event ||
      (pattern.endsWith('.*') && event.startsWith(pattern.slice(0, -1))),
  )

/** What reading such an entry in `GET /logs` needs (C40): receiving it needs the same. */
const NEEDED: Readonly<Record<string, Permission>> = {
  decision: 'logs:read',
  action: 'logs:read',
  approval: 'approvals:read',
  kill_switch: 'kill-switch:read',
}
const ADMINISTRATIVE: Permission = 'config-logs:read'

/** The permissions that somebody needs to have these events sent somewhere. */
export function permissionsFor(patterns: readonly string[], include_payload: boolean): Permission[] {
  const needed = new Set<Permission>(include_payload ? ['logs:read'] : [])
  for (const pattern of patterns) {
    if (pattern === '*')
      for (const permission of [...Object.values(NEEDED), ADMINISTRATIVE]) needed.add(permission)
    else needed.add(NEEDED[pattern.split('.')[0] ?? ''] ?? ADMINISTRATIVE)
  }
  return [...needed]
}

/** Types of entries that none of the patterns can ask for, and of which a log is full: they are not even read. */
export const unwantedTypes = (patterns: readonly string[]): string[] => [
  ...(matches(patterns, 'decision.made') || matches(patterns, 'decision.local') ? [] : ['decision']),
  ...(matches(patterns, 'action.reported') ? [] : ['action']),
]
