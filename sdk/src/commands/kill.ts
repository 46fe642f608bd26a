import { type Command, EXIT } from './command.js'
import { type Column, note, print, printJson, printList, tableLines } from './output.js'

const SCOPES = ['installation', 'organization', 'environment', 'team', 'agent', 'key', 'action'] as const

interface KillSwitch {
  readonly kill_id: string
  readonly scope: string
  readonly target: string | null
  readonly state: string
  readonly reason: string
  readonly activated_by: string
  readonly activated_at: string
}

const COLUMNS: readonly Column<KillSwitch>[] = [
  ['KILL SWITCH', (kill) => kill.kill_id],
  ['SCOPE', (kill) => kill.scope],
  ['TARGET', (kill) => kill.target],
  ['STATE', (kill) => kill.state],
  ['BY', (kill) => kill.activated_by],
  ['SINCE', (kill) => kill.activated_at],
  ['WHY', (kill) => kill.reason],
]

const REASON = { reason: { value: 'text', summary: 'why; kept in the log for good (required)' } } as const

function show(kill: KillSwitch, json: boolean): void {
  if (json) printJson(kill)
  else for (const line of tableLines([kill], COLUMNS)) print(line)
}

export const killCommands: readonly Command[] = [
  {
    name: 'kill status',
    summary: 'what is stopped',
    options: { all: { summary: 'also what was, and has ended' } },
    async run(given) {
      const query = { limit: 100, ...(given.flag('all') && { include_ended: true }) }
      const kills = await given.connect().request<KillSwitch[]>('GET', '/v1/kill-switch', { query })
      printList(kills, COLUMNS, given.json, 'Nothing is stopped.')
      return EXIT.ok
    },
  },
  {
    name: 'kill activate',
    summary: `stops at once; the scope is one of ${SCOPES.join(', ')}`,
    arguments: '<scope> [target]',
    options: REASON,
    details:
      'The target is the environment, team, agent id, key id or action pattern; installation and organization have none.',
    async run(given) {
      const [scope, target] = [given.argument(0), given.optional(1)]
      const body = { scope, ...(target !== undefined && { target }), reason: given.required('reason') }
      show(
        await given.connect().request<KillSwitch>('POST', '/v1/kill-switch/activate', { body }),
        given.json,
      )
      return EXIT.ok
    },
  },
  {
    name: 'kill deactivate',
    summary: 'ends one by its id; exit code 3: a second person must as well',
    arguments: '<kill_id>',
    options: REASON,
    async run(given) {
      const body = { kill_id: given.argument(0), reason: given.required('reason') }
      const kill = await given.connect().request<KillSwitch>('POST', '/v1/kill-switch/deactivate', { body })
      show(kill, given.json)
      if (kill.state !== 'active') return EXIT.ok
      note('It is still active: a second, different person must do the same within 15 minutes.')
      return EXIT.pending
    },
  },
]
