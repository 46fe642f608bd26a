/**
 * What must hold between approvals and the decisions that they allow: an allow by a grant names an approval that the
 * log says was given, for this request or a wider one, to this agent, not used up and not expired.
 */
import { covers, type GrantFact } from '../policy/grants.js'
import { readAction } from '../policy/action.js'
import { readResource } from '../policy/resource.js'
import { canonicalize, type Json } from './canonical.js'
import type { ApprovalEntry } from './entry.js'
import type { RuledEntry } from './read-entry.js'
import type { Violation } from './rules-of-log.js'

interface Requested {
  readonly index: number
  readonly agent_id: string
  readonly digest: string | undefined
  readonly lifts: string
  given: { readonly uses: number; readonly expires_at: number; readonly scope: string; used: number } | null
}

type Members = ApprovalEntry['approval']
type Read = RuledEntry & { readonly action?: { readonly key: string; readonly raw?: string } }

/** Feed it every entry in order of index. */
export class GrantRules {
  private readonly requested = new Map<string, Requested>()

  /** @param whole the log is read from its first entry: an approval that nobody asked for is then a finding */
  constructor(private readonly whole: boolean) {}

  check(index: number, entry: RuledEntry, found: Violation[]): void {
    const { approval } = entry
    if (entry.type === 'decision') return this.decision(index, entry, found)
    if (entry.type !== 'approval' || !approval) return
    switch (approval.op) {
      case 'requested':
        this.requested.set(approval.id, {
          index,
          agent_id: entry.subject?.agent_id ?? '',
          digest: approval.digest,
          lifts: textOf(approval.lifts),
          given: null,
        })
        return
      case 'approved':
        return this.give(entry, approval, found)
      case 'denied':
      case 'expired':
      case 'cancelled':
      case 'revoked':
        this.requested.delete(approval.id)
        return
      case 'voted':
      case 'escalated':
      case 'used':
      case 'refused':
        return
    }
  }

  private give({ subject }: RuledEntry, approval: Members, found: Violation[]): void {
    const request = this.requested.get(approval.id)
    if (!request) {
      if (this.whole)
        found.push(violation('approval.id', `nobody asked for the approval ${approval.id}, or it had ended`))
      return
    }
    if (request.given || request.agent_id !== subject?.agent_id || request.digest !== approval.digest) {
      found.push(
        violation('approval', `the approval ${approval.id} is not what entry ${request.index} asked for`),
      )
      return
    }
    const { uses = 0, expires_at = '', scope } = approval
    request.given = { uses, expires_at: Date.parse(expires_at), scope: textOf(scope), used: 0 }
  }

  private decision(_: number, entry: Read, found: Violation[]): void {
    const { approval, decision } = entry
    const lifted = decision?.findings?.some(({ code }) => code === 'approval_granted') ?? false
    if (decision?.effect !== 'allow' || (!lifted && approval?.op !== 'used')) return
    const wrong = this.wrongUse(entry, lifted)
    if (wrong !== null) found.push(violation('approval', wrong))
  }

  /** Why this allow by a grant is none; null when the log gives it. Counts the use. */
  private wrongUse(entry: Read, lifted: boolean): string | null {
    const { approval, subject } = entry
    const fact = entry.facts?.approval as Partial<Extract<GrantFact, { lifts: unknown }>> | undefined
    if (approval?.op !== 'used' || !lifted || !fact)
      return 'the decision is by an approval that it does not name'
    const { id } = approval
    const request = this.requested.get(id)
    if (!request) return this.whole ? `the approval ${id} was never asked for, or it had ended` : null
    const { given } = request
    if (!given) return `the approval ${id}, asked for in entry ${request.index}, was not given`
    if (subject?.agent_id !== request.agent_id) return `the approval ${id} was given to another agent`
    given.used++
    if (approval.use !== given.used)
      return `use ${approval.use ?? 0} of the approval ${id} should be ${given.used}`
    if (given.used > given.uses)
      return `the approval ${id} was used ${given.used} times, given were ${given.uses}`
    if (!(Date.parse(entry.ts) < given.expires_at)) return `the approval ${id} had expired`
    if (fact.id !== id || fact.use !== approval.use || fact.digest !== request.digest)
      return `the facts do not name the approval ${id} as it was given`
    if (textOf(fact.lifts) !== request.lifts || textOf(fact.scope) !== given.scope)
      return `the facts of the decision say more of the approval ${id} than was given`
    if (!fact.scope)
      return approval.digest === request.digest ? null : `the approval ${id} is for another request`
    return inScope(entry, fact.scope) ? null : `the request is not one that the approval ${id} covers`
  }
}

/** A wider grant, held against the entry's own action and resource. */
function inScope({ action, resource }: Read, scope: { action: string; resource: string | null }): boolean {
  const read = readAction(action?.raw ?? '')
  const at =
    resource && 'raw' in resource && typeof resource.raw === 'string' ? readResource(resource.raw) : null
  if (!read.ok || (at !== null && !at.ok)) return false
  return covers(scope, {
    action: read.value,
    resource: at?.value ?? null,
    arguments: null,
    context: null,
    approval_id: null,
  })
}

const textOf = (value: unknown): string => (value === undefined ? '' : canonicalize(value as Json))

const violation = (field: string, detail: string): Violation => ({ kind: 'approval', field, detail })
