import { randomBytes } from 'node:crypto'
import { ID_BYTES, makeId } from '../core/ids.js'
import { Problem } from '../core/problems.js'
import type { KillSwitch } from './kill-switch.dto.js'
import { DRILL_ID_LENGTH, DRILL_PREFIX, type KillRow } from './kill-switch.queries.js'
import { targetOf } from './kill-target.js'

/** How long the first of two people waits for the second. */
export const RELEASE_MS = 15 * 60_000

/** An id that no other switch has: theirs are shorter. */
export const makeDrillId = (): string => makeId(DRILL_PREFIX, randomBytes(ID_BYTES))

export const isDrill = ({ kill_id }: KillRow): boolean =>
  kill_id.startsWith(DRILL_PREFIX) && kill_id.length === DRILL_ID_LENGTH

/** A switch as the API shows it. */
export function view(row: KillRow): KillSwitch {
  const { kill_id, scope, reason, activated_by, activated_at } = row
  const { release_by, release_reason, release_at, deactivated_by, deactivated_reason, deactivated_at } = row
  return {
    kill_id,
    scope,
    target: targetOf(row),
    state: deactivated_at ? 'ended' : 'active',
    reason,
    activated_by,
    activated_at,
    release:
      release_by !== null && release_at && !deactivated_at
        ? {
            by: release_by,
            reason: release_reason ?? '',
            at: release_at,
            expires_at: new Date(release_at.getTime() + RELEASE_MS),
          }
        : null,
    deactivated_by,
    deactivated_reason,
    deactivated_at,
  }
}

export const missing = (named: string) =>
  new Problem('kill_switch_not_found', { detail: `No kill switch ${named} found` })
