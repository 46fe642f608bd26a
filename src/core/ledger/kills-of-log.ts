import { readAction } from '../policy/action.js'
import { compileDenyAction } from '../policy/pattern.js'
import type { KillEntry } from './entry.js'
import type { RuledEntry } from './read-entry.js'

type Kill = KillEntry['kill']

/** An activated kill switch and the entry that says so. */
export interface Since {
  readonly index: number
  readonly kill: Kill
}

/**
 * The kill switches that a log says are active, and what they cover: by the decision entry's own environment, team,
 * agent, key and action, whatever the entry claims about kill switches.
 */
export class KillsOfLog {
  private readonly active = new Map<string, Since & { readonly covers: (entry: RuledEntry) => boolean }>()

  record(index: number, kill: Kill): void {
    if (kill.op === 'deactivated') this.active.delete(kill.id)
    else if (!this.active.has(kill.id)) this.active.set(kill.id, { index, kill, covers: coverOf(kill) })
  }

  /** The first active switch that covers this decision; null when none does. */
  covering(entry: RuledEntry): Since | null {
    for (const since of this.active.values()) if (since.covers(entry)) return since
    return null
  }
}

/** What a switch stops, of decision entries. */
export function coverOf({ scope, target }: Kill): (entry: RuledEntry) => boolean {
  switch (scope) {
    case 'installation':
    case 'organization':
      return () => true
    case 'environment':
      return ({ subject }) => subject?.environment === target
    case 'team':
      return ({ subject }) => subject?.team === target
    case 'agent':
      return ({ subject }) => subject?.agent_id === target
    case 'key':
      return ({ actor }) => actor.key_id === target
    case 'action':
      return actionCover(target ?? '')
  }
}

/** As widely as the service: a pattern or an action that cannot be read is covered. */
function actionCover(target: string): (entry: RuledEntry) => boolean {
  const pattern = compileDenyAction(target)
  if (!pattern.ok) return () => true
  return ({ action }) => {
    const reading = readAction(action?.raw ?? action?.key ?? '')
    return !reading.ok || pattern.value.matches(reading.value)
  }
}
