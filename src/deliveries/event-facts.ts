import type { Entry } from '../core/ledger/entry.js'

/** What an event says: the entry without what only verifiers need, and without the erasable payload. */
export interface EventFacts {
  readonly org_id: string
  readonly log_id: string
  readonly log_index: number
  readonly [member: string]: unknown
}

/** Members of an entry that carry the facts of an event; each is absent where the entry has it not. */
const FACTS = [
  'actor',
  'subject',
  'action',
  'resource',
  'report',
  'approval',
  'local',
  'kill',
  'change',
  'redaction',
  'epoch',
  'request_id',
] as const

/** @param public_url where people reach the dashboard; undefined: the facts carry no link */
export function factsOf(
  org_id: string,
  log_index: number,
  entry: Entry,
  public_url: string | undefined,
): EventFacts {
  const members = entry as unknown as Readonly<Record<string, unknown>>
  const facts: Record<string, unknown> = {}
  for (const name of FACTS) if (members[name] !== undefined) facts[name] = members[name]
  if (entry.type === 'decision') {
    const { effect, code, reason } = entry.decision
    facts.decision = { effect, code, reason }
    facts.policies = entry.policies.map(({ scope, id, version }) => ({ scope, id, version }))
  }
  const url = linkTo(entry, public_url)
  if (url !== undefined) facts.url = url
  return { org_id, log_id: entry.id, log_index, ...facts }
}

/**
 * Where a person looks at it, or decides about it. The link is a place and not a permission: who follows it signs in,
 * and needs the permission to decide.
 */
export function linkTo(entry: Entry, public_url: string | undefined): string | undefined {
  if (public_url === undefined) return undefined
  switch (entry.type) {
    case 'approval':
      return `${public_url}/dashboard/approvals/view?id=${encodeURIComponent(entry.approval.id)}`
    case 'kill':
      return `${public_url}/dashboard/kill-switch`
    case 'decision':
    case 'action':
    case 'config':
    case 'redaction':
    case 'epoch':
      return `${public_url}/dashboard/logs/view?id=${entry.id}`
  }
}
