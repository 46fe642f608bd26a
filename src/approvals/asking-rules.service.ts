import { Injectable } from '@nestjs/common'
import type { Entry } from '../core/ledger/entry.js'
import { type ApprovalRulePlace, PoliciesService } from '../policies/policies.service.js'
import type { Tx } from '../platform/database/database.service.js'
import type { AskingRule } from './approvals.dto.js'
import { selectEntries } from './approvals.queries.js'
import type { StoredApproval } from './approvals.record.js'

/** A decision may be asked for by thousands of rules; who decides is shown so many. */
export const MAX_RULES = 10
/** Of one rule, in characters of JSON. Longer ones are in the policy version that is named. */
const MAX_CONDITIONS = 8192

const ASKED = /^require_approval\/(\d{1,9})$/

interface Named extends ApprovalRulePlace {
  readonly scope: string
}

/** Which rules asked people: as the decision's entry names them, and as they stood in the policy version it was made from. */
@Injectable()
export class AskingRulesService {
  constructor(private readonly policies: PoliciesService) {}

  /**
   * The rules of each approval, by its id, in the order in which the decision found them. None where the log no longer
   * keeps the entry.
   * @param most of each approval
   */
  async of(
    tx: Tx,
    org_id: string,
    approvals: readonly Pick<StoredApproval, 'approval_id' | 'decision_id'>[],
    most: number,
  ): Promise<ReadonlyMap<string, readonly AskingRule[]>> {
    if (approvals.length === 0) return new Map()
    const entries = await selectEntries(
      tx,
      org_id,
      approvals.map(({ decision_id }) => decision_id),
    )
    const named = new Map(entries.map(({ id, entry }) => [id, namedBy(entry).slice(0, most)]))
    const places = [...named.values()].flat()
    if (places.length === 0) return new Map()
    // The same rule asks again and again, and a policy may be a megabyte.
    const distinct = [...new Map(places.map((place) => [keyOf(place), place])).values()]
    const rows = await this.policies.approvalRules(tx, org_id, distinct, MAX_CONDITIONS)
    const found = new Map(
      distinct.map((place, i) => [keyOf(place), viewOf(place, rows[i] ?? { rule: null, long: false })]),
    )
    return new Map(
      approvals.map(({ approval_id, decision_id }) => [
        approval_id,
        (named.get(decision_id) ?? []).flatMap((place) => found.get(keyOf(place)) ?? []),
      ]),
    )
  }
}

const keyOf = ({ policy_id, version, index }: Named): string => `${policy_id} ${version} ${index}`

/** The approval rules that an entry of a decision names. */
function namedBy(bytes: Uint8Array): Named[] {
  // The parser of what the ledger alone has written.
  const entry = JSON.parse(Buffer.from(bytes).toString()) as Entry
  if (entry.type !== 'decision') return []
  return entry.decision.findings.flatMap(({ effect, policy, rule }) => {
    const of = policy === undefined ? undefined : entry.policies?.[policy]
    const index = ASKED.exec(rule ?? '')?.[1]
    if (effect !== 'pending' || !of || index === undefined) return []
    return [{ scope: of.scope, policy_id: of.id, version: of.version, index: Number(index) }]
  })
}

function viewOf(
  { scope, policy_id, version, index }: Named,
  { rule, long }: Awaited<ReturnType<PoliciesService['approvalRules']>>[number],
): AskingRule[] {
  if (!rule) return []
  return [
    {
      scope,
      policy_id,
      version,
      list: 'require_approval',
      index,
      action: rule.action,
      resource: rule.resource ?? null,
      workflow: rule.workflow ?? null,
      conditions: rule.conditions ?? null,
      conditions_left_out: long,
    },
  ]
}
