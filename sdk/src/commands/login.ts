import { createInterface } from 'node:readline'
import { Writable } from 'node:stream'
import { UsageError } from '../usage.js'
import { type Command, EXIT, type Given } from './command.js'
import { Connection, sameService } from './connection.js'
import { APIError } from '../errors.js'
import { clean, note, printJson, printList } from './output.js'
import { DEFAULT_PROFILE, type Profile, profilesFile, readProfiles, writeProfiles } from './profiles.js'

const NAME = /^[a-z0-9][a-z0-9._-]{0,63}$/i
const MAX_INPUT = 4096

export const loginCommands: readonly Command[] = [
  {
    name: 'login',
    summary: 'checks a key and keeps it for this user',
    options: {
      'admin-key-stdin': { summary: "an administrator's key, read from standard input" },
      'agent-key-stdin': { summary: "an agent's key, read from standard input" },
    },
    details:
      'In a terminal it asks for what is missing, and shows no key. A profile may hold a key of each kind. The file has mode 600 in a folder of mode 700.',
    run: login,
  },
  {
    name: 'logout',
    summary: 'forgets a profile and its keys, which stay valid at the service',
    offline: true,
    options: { profile: { value: 'name', summary: 'default: the current one' } },
    run(given) {
      const { current, profiles } = readProfiles()
      const name = given.text('profile') ?? current
      if (!Object.hasOwn(profiles, name)) throw new UsageError(`There is no profile ${clean(name)}.`)
      const rest = Object.fromEntries(Object.entries(profiles).filter(([other]) => other !== name))
      writeProfiles({
        current: name === current ? (Object.keys(rest)[0] ?? DEFAULT_PROFILE) : current,
        profiles: rest,
      })
      note(`Forgot ${name}. Its keys are still valid: revoke them if they are no longer needed.`)
      return EXIT.ok
    },
  },
  {
    name: 'profiles',
    summary: 'what login has kept, without the keys; with a name, makes it the current one',
    arguments: '[name]',
    offline: true,
    options: { json: { summary: 'for programs: JSON on standard output' } },
    run(given) {
      const kept = readProfiles()
      const name = given.optional(0)
      if (name !== undefined && !Object.hasOwn(kept.profiles, name))
        throw new UsageError(`There is no profile ${clean(name)}.`)
      if (name !== undefined) writeProfiles({ ...kept, current: name })
      const rows = Object.entries(kept.profiles).map(([profile, { url, admin_key, agent_key, org_id }]) => ({
        profile,
        current: profile === (name ?? kept.current),
        url,
        org_id: org_id ?? null,
        keys: [...(admin_key === undefined ? [] : ['admin']), ...(agent_key === undefined ? [] : ['agent'])],
      }))
      printList(
        rows,
        [
          ['PROFILE', (row) => row.profile],
          ['CURRENT', (row) => row.current],
          ['URL', (row) => row.url],
          ['ORGANIZATION', (row) => row.org_id],
          ['KEYS', (row) => row.keys],
        ],
        given.json,
        'There are none: agentguard login makes one.',
      )
      return EXIT.ok
    },
  },
]

async function login(given: Given): Promise<number> {
  const name = given.text('profile') ?? DEFAULT_PROFILE
  if (!NAME.test(name)) throw given.mistake('The name of a profile is letters, digits, dots, hyphens.')
  const [admin, agent] = [given.flag('admin-key-stdin'), given.flag('agent-key-stdin')]
  if (admin && agent) throw given.mistake('Give one key at a time.')
  const kept = readProfiles()
  const old = kept.profiles[name]
  const url =
    given.text('url') ?? process.env.AGENTGUARD_URL ?? old?.url ?? (await ask('URL of the service: '))
  const key = admin || agent ? await readInput() : await ask('Key (not shown): ', true)
  const isAgent = agent || (!admin && key.startsWith('agk_'))
  const org_id = given.text('org')
  const access: Profile = {
    url,
    ...(isAgent ? { agent_key: key } : { admin_key: key }),
    ...(org_id !== undefined && { org_id }),
  }
  if (new URL(urlOf(given, url)).protocol === 'http:' && !isLoopback(url))
    note('Warning: http:// sends the key unencrypted to another machine. Use https://.')
  await check(access, isAgent)
  // A key of the other kind stays, if it is for the same service.
  const profile = old && sameService(old.url, url) ? { ...old, ...access } : access
  writeProfiles({ current: name, profiles: { ...kept.profiles, [name]: profile } })
  if (given.json) printJson({ profile: name, url, kind: isAgent ? 'agent' : 'admin', file: profilesFile() })
  else note(`The key is valid at ${clean(url)}. Kept as profile ${name} in ${profilesFile()}`)
  return EXIT.ok
}

function urlOf(given: Given, text: string): string {
  if (URL.canParse(text) && /^https?:$/.test(new URL(text).protocol)) return text
  throw given.mistake('--url is http:// or https:// and a host.')
}

const isLoopback = (url: string): boolean =>
  /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(new URL(url).hostname)

/** Asks something that any valid key may ask, or is refused with 403: it is known either way. */
async function check(access: Profile, isAgent: boolean): Promise<void> {
  const connection = new Connection(access)
  try {
    if (isAgent) await connection.request('GET', '/v1/logs', { query: { limit: 1 } })
    else await connection.request('GET', '/v1/auth/me')
  } catch (error) {
    if (!(error instanceof APIError) || error.status !== 403) throw error
  }
}

async function readInput(): Promise<string> {
  let text = ''
  process.stdin.setEncoding('utf8')
  for await (const chunk of process.stdin) {
    text += String(chunk)
    if (text.length > MAX_INPUT) break
  }
  return keyOf(text)
}

function keyOf(text: string): string {
  const key = text.trim()
  if (/^[\x21-\x7e]{1,512}$/.test(key)) return key
  throw new UsageError('That is no key: it has visible ASCII characters without spaces.')
}

/** Asks in the terminal; what is hidden is not echoed. */
async function ask(question: string, hidden = false): Promise<string> {
  if (!process.stdin.isTTY)
    throw new UsageError(
      'This is no terminal to ask in: give --url and --admin-key-stdin or --agent-key-stdin.',
    )
  process.stderr.write(question)
  const nowhere = new Writable({ write: (_chunk, _encoding, done) => done() })
  const lines = createInterface({
    input: process.stdin,
    output: hidden ? nowhere : process.stderr,
    terminal: true,
  })
  try {
    const text = await new Promise<string>((resolve, reject) => {
      lines.once('line', resolve)
      lines.once('close', () => reject(new UsageError('Nothing was entered.')))
      lines.once('SIGINT', () => lines.close())
    })
    return hidden ? keyOf(text) : text.trim()
  } finally {
    lines.close()
    if (hidden) process.stderr.write('\n')
  }
}

/** Yes only for `y` or `yes`. */
export const confirm = async (question: string): Promise<boolean> =>
  /^y(es)?$/i.test(await ask(`${question} [y/N] `))
