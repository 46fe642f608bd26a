import type { ApprovalEntry, Entry } from '../core/ledger/entry.js'

/** What people read: one line, and then facts as lines. Everything that a tenant wrote is shortened to one line. */
export interface Notice {
  readonly title: string
  readonly facts: readonly (readonly [name: string, value: string])[]
  /** What to do at the link. */
  readonly link_text: string
}

const MAX_LENGTH = 300

/** An event in words. Never the erasable payload: messages leave our reach. */
export function noticeOf(entry: Entry): Notice {
  const agent = 'subject' in entry ? entry.subject?.agent_id : undefined
  const facts: [string, string | undefined][] = [['Agent', agent]]
  if (entry.type === 'approval') {
    facts.push(['Action', entry.action.raw], ['Resource', entry.resource?.raw])
    facts.push(['Rule', ruleOf(entry)])
    const waiting = entry.approval.op === 'requested' || entry.approval.op === 'escalated'
    const title = waiting ? 'An agent waits for an approval' : `An approval was ${entry.approval.op}`
    return notice(title, facts, waiting ? 'Sign in to decide' : 'See the request')
  }
  if (entry.type === 'kill') {
    const { scope, target, reason, op } = entry.kill
    facts.push(['Scope', target === undefined ? scope : `${scope} ${target}`], ['Reason', reason])
    const title = op === 'activated' ? 'A kill switch was activated' : 'A kill switch was deactivated'
    return notice(title, facts, 'See what is stopped')
  }
  if (entry.type === 'decision') {
    const effect = { allow: 'allowed', deny: 'denied', pending: 'sent to a person' }[entry.decision.effect]
    facts.push(
      ['Action', entry.action.raw],
      ['Resource', entry.resource?.raw],
      ['Why', entry.decision.reason],
    )
    return notice(`An agent was ${effect}`, facts, 'See the decision')
  }
  if (entry.event === 'webhook.disabled') {
    facts.push(['Webhook', entry.type === 'config' ? entry.change.id : undefined])
    return notice('A webhook was disabled because it does not answer', facts, 'See the entry')
  }
  return notice(entry.event.replace(/[._]/g, ' '), facts, 'See the entry')
}

/** The rule that asked, where the entry names it; when several did, the first and how many more. */
function ruleOf({ approval: { lifts = [] } }: ApprovalEntry): string | undefined {
  const [first] = lifts
  if (!first) return undefined
  const { action, resource, request } = first
  const more = lifts.length > 1 ? ` (and ${lifts.length - 1} more)` : ''
  return `${action}${resource === null ? '' : ` on ${resource}`}${more}${request === undefined ? '' : ` when ${request}`}`
}

function notice(title: string, facts: readonly [string, string | undefined][], link_text: string): Notice {
  return {
    title,
    link_text,
    facts: facts.flatMap(([name, value]) => (value === undefined ? [] : [[name, oneLine(value)] as const])),
  }
}

/** Without line breaks and control or direction marks, with which a text could pose as another line of the message. */
function oneLine(text: string): string {
  const line = text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\s]+/gu, ' ').trim()
  const characters = Array.from(line)
  return characters.length <= MAX_LENGTH ? line : `${characters.slice(0, MAX_LENGTH - 1).join('')}…`
}

/** The body of an e-mail. The link is the last line, so that nothing a tenant wrote comes after it. */
export function mailText({ title, facts, link_text }: Notice, when: string, url: string | undefined): string {
  const lines = [`${title}.`, '', ...facts.map(([name, value]) => `${name}: ${value}`), `Time: ${when}`]
  return [...lines, '', ...(url === undefined ? [] : [`${link_text}: ${url}`])].join('\n')
}

/** A Slack message in blocks. What tenants wrote is plain text there: it cannot mention, link or format. */
export function slackMessage({ title, facts, link_text }: Notice, url: string | undefined): object {
  const plain = (text: string) => ({ type: 'plain_text', text, emoji: false })
  return {
    text: title,
    blocks: [
      { type: 'header', text: plain(title) },
      ...(facts.length === 0
        ? []
        : [{ type: 'section', fields: facts.map(([name, value]) => plain(`${name}: ${value}`)) }]),
      ...(url === undefined
        ? []
        : [{ type: 'actions', elements: [{ type: 'button', text: plain(link_text), url }] }]),
    ],
  }
}
