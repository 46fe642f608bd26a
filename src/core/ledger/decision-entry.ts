import { canonicalize, canonicalString as text, type Json } from './canonical.js'
import type { DecisionEntry, EntryFinding, Reading } from './entry.js'

/** What is the same in every decision made from one snapshot of the configuration. */
export type DecisionOrigin = Pick<
  DecisionEntry,
  'actor' | 'config' | 'engine' | 'log' | 'policies' | 'subject'
>

/** What each decision adds. */
export type DecisionFacts = Pick<
  DecisionEntry,
  'id' | 'ts' | 'action' | 'resource' | 'decision' | 'facts' | 'payload' | 'request_id'
>

/** The canonical text of a decision's entry, given what is its own. */
export type DecisionEncoder = (facts: DecisionFacts) => string

/**
 * Writes out once what the decisions of one snapshot share, in the order in which canonical JSON wants the members.
 * What is left for each entry is a handful of short strings: a tenth of the work of the general form, to which a
 * property test holds it equal.
 */
export function decisionEncoder(origin: DecisionOrigin): DecisionEncoder {
  const part = (value: unknown): string => canonicalize(value as Json)
  // Joined, because what is put together with `+` stays the chain of its parts: there is one of these an agent.
  const whole = (...parts: string[]): string => parts.join('')
  const actor = whole(',"actor":', part(origin.actor), ',"config":', part(origin.config), ',"decision":{"code":') // prettier-ignore
  const engine = whole('},"engine":', part(origin.engine), ',"event":"decision.made",')
  const log = whole(',"log":', text(origin.log), ',')
  const policies = whole('"policies":', part(origin.policies), ',')
  const subject = whole('"subject":', part(origin.subject), ',"ts":"')
  return ({ id, ts, action, resource, decision, facts, payload, request_id }) => {
    let entry = `{"action":${reading(action)}${actor}${text(decision.code)},"effect":"${decision.effect}","findings":[`
    let separator = ''
    for (const one of decision.findings) {
      entry += separator + finding(one)
      separator = ','
    }
    entry += `],"reason":${text(decision.reason)}${engine}`
    if (facts) entry += `"facts":${canonicalize(facts)},`
    entry += `"id":"${id}"${log}`
    if (payload) entry += `"payload":${part(payload)},`
    entry += policies
    if (request_id !== undefined) entry += `"request_id":${text(request_id)},`
    if (resource) entry += `"resource":${reading(resource)},`
    return `${entry}${subject}${ts}","type":"decision","v":1}`
  }
}

const reading = ({ key, raw }: Reading): string => `{"key":${text(key)},"raw":${text(raw)}}`

function finding({ code, effect, policy, rule, stage }: EntryFinding): string {
  let entry = `{"code":${text(code)},"effect":"${effect}"`
  if (policy !== undefined) entry += `,"policy":${policy}`
  if (rule !== undefined) entry += `,"rule":${text(rule)}`
  return `${entry},"stage":${text(stage)}}`
}
