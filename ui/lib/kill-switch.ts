import type { Schemas } from './api'

export type KillSwitch = Schemas['KillSwitch']
export type KillScope = KillSwitch['scope']

/** Switches that a drill made, which last for a moment: `src/kill-switch/kill-switch.view.ts` names them so. */
const DRILL = 'kil_drill_'
export const isDrill = ({ kill_id }: Pick<KillSwitch, 'kill_id'>): boolean => kill_id.startsWith(DRILL)

export const SCOPE_WORDS: Readonly<Record<KillScope, string>> = {
  installation: 'The whole installation',
  organization: 'The whole organization',
  environment: 'An environment',
  team: 'The agents of a team',
  agent: 'One agent',
  key: 'One key of an agent',
  action: 'Actions of a pattern',
}
