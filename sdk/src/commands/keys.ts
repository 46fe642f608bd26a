import { noteSecret } from './agents.js'
import { type Command, EXIT } from './command.js'
import { note, printJson, printList, printThing } from './output.js'

const EXPIRES = {
  value: 'time',
  summary: 'when the new key ends, as 2027-01-31T00:00:00Z; default: never',
} as const
const MAX_OVERLAP_S = 604_800

export const keyCommands: readonly Command[] = [
  {
    name: 'keys list',
    summary: "an agent's keys, newest first, without their secrets",
    arguments: '<agent_id>',
    async run(given) {
      const keys = await given.connect().client.keys.list(given.argument(0), { limit: 100 }).toArray()
      printList(
        keys,
        [
          ['KEY', (key) => key.key_id],
          ['BEGINS', (key) => key.key_prefix],
          ['STATE', (key) => key.state],
          ['LAST USED', (key) => key.last_used_at],
          ['EXPIRES', (key) => key.expires_at],
          ['CREATED', (key) => key.created_at],
        ],
        given.json,
        'The agent has no keys.',
      )
      return EXIT.ok
    },
  },
  {
    name: 'keys create',
    summary: 'one more key, which is shown this once',
    arguments: '<agent_id>',
    options: { expires: EXPIRES },
    async run(given) {
      const expires_at = given.text('expires')
      const made = await given
        .connect()
        .client.keys.create(given.argument(0), expires_at === undefined ? {} : { expires_at })
      printThing(made, given.json)
      noteSecret()
      return EXIT.ok
    },
  },
  {
    name: 'keys rotate',
    summary: 'a new key for an old one, which is shown this once',
    arguments: '<agent_id> <key_id>',
    options: {
      overlap: { value: 'seconds', summary: 'how long the old key still works; default 0: not at all' },
      expires: EXPIRES,
    },
    async run(given) {
      const overlap_seconds = given.number('overlap', { min: 0, max: MAX_OVERLAP_S }) ?? 0
      const expires_at = given.text('expires')
      const made = await given.connect().client.keys.rotate(given.argument(0), given.argument(1), {
        overlap_seconds,
        ...(expires_at !== undefined && { expires_at }),
      })
      printThing(made, given.json)
      noteSecret()
      return EXIT.ok
    },
  },
  {
    name: 'keys revoke',
    summary: 'at once and for good',
    arguments: '<agent_id> <key_id>',
    async run(given) {
      const [agent_id, key_id] = [given.argument(0), given.argument(1)]
      await given.connect().client.keys.revoke(agent_id, key_id)
      if (given.json) printJson({ agent_id, key_id, revoked: true })
      else note(`${key_id} is revoked.`)
      return EXIT.ok
    },
  },
]
