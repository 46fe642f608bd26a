import { APIError } from '../errors.js'
import { sleep } from '../transport.js'
import type { Connection } from './connection.js'
import { type Command, EXIT, type Given } from './command.js'
import {
  cell,
  type Column,
  colored,
  lineOf,
  note,
  print,
  printJsonLine,
  printList,
  widthOf,
} from './output.js'

const PAGE = 1000
const DEFAULT_LIMIT = 50
const EVERY_S = 1

type Client = Connection['client']
type Query = NonNullable<Parameters<Client['logs']['list']>[0]>
type Entry = Awaited<ReturnType<Client['logs']['list']>>['items'][number]

const COLUMNS: readonly Column<Entry>[] = [
  ['INDEX', (entry) => entry.index],
  ['TIME', (entry) => entry.timestamp],
  ['AGENT', (entry) => entry.agent_id],
  ['EVENT', (entry) => entry.event],
  ['STATUS', (entry) => entry.status ?? entry.result],
  ['ACTION', (entry) => entry.action],
  ['RESOURCE', (entry) => entry.resource],
  ['REASON', (entry) => entry.reason],
]
/** Columns of lines that appear one by one cannot fit what comes later. */
const FOLLOWED_WIDTHS = [8, 24, 20, 16, 8, 20]

export const logCommands: readonly Command[] = [
  {
    name: 'logs',
    summary: 'what was decided and done, newest last',
    options: {
      follow: {
        short: 'f',
        summary: 'goes on with every new entry, in order and without gaps, until stopped',
      },
      limit: { value: 'n', short: 'n', summary: `how many of the newest; default ${DEFAULT_LIMIT}` },
      agent: { value: 'agent_id', summary: 'only of this agent' },
      action: { value: 'pattern', summary: 'only of actions that this matches, such as read:*' },
      allowed: { value: 'yes|no', choices: ['yes', 'no'], summary: 'only what was allowed, or was not' },
      since: { value: 'time', summary: 'from then on: a time, or 30m, 6h, 2d ago' },
      until: { value: 'time', summary: 'until then' },
      type: {
        value: 'types',
        summary: 'of decision,action,config,approval,kill,redaction,epoch; default decision,action',
      },
      decision: { value: 'decision_id', summary: 'one decision and the reports that name it' },
    },
    details: 'With --json an array; with --follow one JSON object a line.',
    async run(given) {
      const { client } = given.connect()
      const follow = given.flag('follow')
      const limit = given.number('limit', { min: follow ? 0 : 1, max: 1_000_000 }) ?? DEFAULT_LIMIT
      const query = queryOf(given)
      if (follow && query.end_time !== undefined) throw given.mistake('--until does not go with --follow.')
      if (follow) return followLog(client, query, limit, given.json)
      const entries = await client.logs.list({ ...query, limit: Math.min(limit, PAGE) }).toArray(limit)
      printList(entries.reverse(), COLUMNS, given.json, 'There are no such entries.')
      return EXIT.ok
    },
  },
]

function queryOf(given: Given): Query {
  const [agent_id, action, type] = [given.text('agent'), given.text('action'), given.text('type')]
  const [since, until, allowed] = [given.text('since'), given.text('until'), given.text('allowed')]
  const decision_id = given.text('decision')
  return {
    ...(agent_id !== undefined && { agent_id }),
    ...(action !== undefined && { action }),
    ...(type !== undefined && { type }),
    ...(allowed !== undefined && { allowed: allowed === 'yes' }),
    ...(since !== undefined && { start_time: timeOf(given, 'since', since) }),
    ...(until !== undefined && { end_time: timeOf(given, 'until', until) }),
    ...(decision_id !== undefined && { decision_id }),
  }
}

const UNITS_S: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400 }

function timeOf(given: Given, name: string, text: string): string {
  const [, count, unit = ''] = /^(\d{1,6})([smhd])$/.exec(text) ?? []
  const time =
    count === undefined ? Date.parse(text) : Date.now() - Number(count) * (UNITS_S[unit] ?? 0) * 1000
  if (!Number.isFinite(time))
    throw given.mistake(`--${name} is a time such as 2026-11-21T08:00:00Z, or 30m, 6h, 2d.`)
  return new Date(time).toISOString()
}

/**
 * Prints new entries as they come. Indexes are allotted in the order of commits, so whatever is newer than the newest
 * that was shown has a higher one: nothing is skipped, and nothing shown twice, also after the service was away.
 */
async function followLog(client: Client, query: Query, limit: number, json: boolean): Promise<number> {
  const show = (entry: Entry) => (json ? printJsonLine(entry) : print(followedLine(entry)))
  if (!json) note(headingLine())
  const first = await client.logs
    .list({ ...query, limit: Math.max(1, Math.min(limit, PAGE)) })
    .toArray(Math.max(1, limit))
  let newest = first[0]?.index ?? -1
  if (limit > 0) for (const entry of first.reverse()) show(entry)
  for (let failures = 0; ;) {
    await sleep(EVERY_S * 1000 * Math.min(30, 2 ** failures), undefined, '')
    try {
      for (const entry of await entriesAfter(client, query, newest)) {
        show(entry)
        newest = entry.index
      }
      failures = 0
    } catch (error) {
      if (!(error instanceof APIError) || !error.retryable) throw error
      if (failures++ === 0) note(`${lineOf(error)} Going on when it answers.`)
    }
  }
}

/** Oldest first. */
async function entriesAfter(client: Client, query: Query, newest: number): Promise<Entry[]> {
  const entries: Entry[] = []
  for await (const entry of client.logs.list({ ...query, limit: 100 })) {
    if (entry.index <= newest) break
    entries.push(entry)
  }
  return entries.reverse()
}

const lineWith = (texts: readonly string[]): string =>
  texts
    .map((text, i) => text + ' '.repeat(Math.max(0, (FOLLOWED_WIDTHS[i] ?? 0) - widthOf(text))))
    .join('  ')
    .trimEnd()

const headingLine = (): string => colored(lineWith(COLUMNS.map(([heading]) => heading)), 1)
const followedLine = (entry: Entry): string => lineWith(COLUMNS.map(([, of]) => cell(of(entry))))
