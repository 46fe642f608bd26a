import { APIError } from '../errors.js'
import { sleep } from '../transport.js'
import {
  changeSettings,
  parseSetting,
  SETTING_NAMES,
  type Settings,
  settingsOf,
} from './approval-settings.js'
import { type Command, EXIT } from './command.js'
import { type Connection, pathTo } from './connection.js'
import {
  type Column,
  lineOf,
  note,
  print,
  printJson,
  printJsonLine,
  printList,
  printThing,
  tableLines,
} from './output.js'

const STATUSES = ['pending', 'approved', 'denied', 'expired', 'cancelled'] as const
const MAX_LIMIT = 500
const EVERY_MS = 2000

interface Approval {
  readonly approval_id: string
  readonly status: string
  readonly agent_id: string
  readonly action: string
  readonly resource: string | null
  readonly reason: string
  readonly expires_at: string
}

interface AskingRule {
  readonly scope: string
  readonly policy_id: string
  readonly version: number
  readonly list: string
  readonly index: number
  readonly action: string
  readonly resource: string | null
  readonly conditions: object | null
  readonly conditions_left_out: boolean
}

interface ApprovalRequest extends Approval {
  readonly rule: AskingRule | null
  readonly other_rules: readonly AskingRule[]
}

/** `agent policy pol_… version 3, require_approval[1]: send:* on mail://* when {"env":"prod"}` */
function ruleText(rule: AskingRule): string {
  const { scope, policy_id, version, list, index, action, resource, conditions } = rule
  const when = rule.conditions_left_out
    ? 'when … (see the version)'
    : conditions && `when ${JSON.stringify(conditions)}`
  const what = [action, resource === null ? null : `on ${resource}`, when].filter(Boolean).join(' ')
  return `${scope} policy ${policy_id} version ${version}, ${list}[${index}]: ${what}`
}

const COLUMNS: readonly Column<Approval>[] = [
  ['APPROVAL', (approval) => approval.approval_id],
  ['STATUS', (approval) => approval.status],
  ['AGENT', (approval) => approval.agent_id],
  ['ACTION', (approval) => approval.action],
  ['RESOURCE', (approval) => approval.resource],
  ['EXPIRES', (approval) => approval.expires_at],
  ['WHY', (approval) => approval.reason],
]

const list = async (connection: Connection, query: Record<string, string | number | undefined>) =>
  (await connection.request<{ items: Approval[] }>('GET', '/v1/approvals', { query })).items

/** A person's answer, told in one line. */
const answer = (verb: 'approve' | 'deny' | 'revoke', summary: string): Command => ({
  name: `approvals ${verb}`,
  summary,
  arguments: '<approval_id>',
  options: { reason: { value: 'text', summary: 'why; the agent is told' } },
  async run(given) {
    const reason = given.text('reason')
    const path = pathTo('/v1/approvals', given.argument(0), `/${verb}`)
    const approval = await given
      .connect()
      .request<Approval>('POST', path, { body: reason === undefined ? {} : { reason } })
    if (given.json) printJson(approval)
    else for (const line of tableLines([approval], COLUMNS)) print(line)
    // A workflow may want more people: that is not yet an approval.
    return approval.status === 'pending' ? EXIT.pending : EXIT.ok
  },
})

export const approvalCommands: readonly Command[] = [
  {
    name: 'approvals list',
    summary: 'what waits for people, and what they decided, newest first',
    options: {
      status: { value: 'status', choices: STATUSES, summary: `one of ${STATUSES.join(', ')}` },
      agent: { value: 'agent_id', summary: 'only of this agent' },
      limit: { value: 'n', short: 'n', summary: 'at most so many; default 100' },
    },
    async run(given) {
      const items = await list(given.connect(), {
        status: given.text('status'),
        agent_id: given.text('agent'),
        limit: given.number('limit', { min: 1, max: MAX_LIMIT }),
      })
      printList(items, COLUMNS, given.json, 'There are no such approvals.')
      return EXIT.ok
    },
  },
  {
    name: 'approvals get',
    summary: 'the exact request that waits, with its arguments and the rules that asked',
    arguments: '<approval_id>',
    async run(given) {
      const path = pathTo('/v1/approvals', given.argument(0))
      const approval = await given.connect().request<ApprovalRequest>('GET', path)
      const { rule, other_rules = [] } = approval
      if (given.json) printJson(approval)
      else
        printThing(
          { ...approval, rule: rule && ruleText(rule), other_rules: other_rules.map(ruleText) },
          false,
        )
      return EXIT.ok
    },
  },
  answer('approve', 'says yes: the agent may do exactly that, once. Exit code 3: more people must'),
  answer('deny', 'says no'),
  answer('revoke', 'takes back what was granted, before it is used'),
  {
    name: 'approvals settings',
    summary: 'how people are asked: limits, workflows by risk; with --set changes them',
    options: {
      set: { value: 'name=value', many: true, summary: `one of ${SETTING_NAMES.join(', ')}` },
    },
    details: 'A workflow is its name, or none. What is not named stays. Changing needs organization:write.',
    async run(given) {
      const changes = given.list('set').reduce<Settings>((all, one) => ({ ...all, ...parseSetting(one) }), {})
      const connection = given.connect()
      const changed = Object.keys(changes).length > 0
      const settings = changed ? await changeSettings(connection, changes) : await settingsOf(connection)
      printThing(settings, given.json)
      return EXIT.ok
    },
  },
  {
    name: 'approvals watch',
    summary: 'shows each request that waits as it comes, until stopped',
    details: 'With --json one JSON object a line.',
    async run(given) {
      const connection = given.connect()
      const shown = new Set<string>()
      for (;;) {
        try {
          const waiting = await list(connection, { status: 'pending', limit: MAX_LIMIT })
          for (const approval of waiting.reverse()) {
            if (shown.has(approval.approval_id)) continue
            shown.add(approval.approval_id)
            if (given.json) printJsonLine(approval)
            else
              for (const line of tableLines([approval], COLUMNS).slice(shown.size === 1 ? 0 : 1)) print(line)
          }
        } catch (error) {
          if (!(error instanceof APIError) || !error.retryable) throw error
          note(lineOf(error))
        }
        await sleep(EVERY_MS, undefined, '')
      }
    },
  },
]
