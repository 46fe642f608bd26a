import { WORKFLOW_NAME } from '../../approvals/workflow.js'
import type { Json } from '../../ledger/canonical.js'
import { err, ok, type Result } from '../../result.js'
import type { RuleList } from '../codes.js'
import { compileDenyAction } from '../pattern.js'
import type { CompileEnv, CompileError } from '../stage.js'
import { isZone, readClock, readDay, readEnvironment, type Conditions, type TimeRange } from './conditions.js'
import type { RequestConditions } from './request-conditions.js'
import { countValues, MAX_POLICY_VALUES, readRequestConditions } from './request-document.js'

/** A rule as typed (rows AG-30, AG-32, AG-35, AG-37). An absent, null, empty or `*` resource is any resource. */
export interface Rule {
  readonly action: string
  readonly resource?: string | null
  readonly conditions?: Conditions
  /** Of an approval rule: the name of the workflow by which people decide. */
  readonly workflow?: string
}

export interface PolicyDocument {
  readonly allow: readonly Rule[]
  readonly deny: readonly Rule[]
  readonly require_approval: readonly Rule[]
  /** Patterns of actions that only the service decides, never an agent by itself (docs/local-decisions.md). */
  readonly require_online?: readonly string[]
}

/** Rules in one document, all lists together. */
export const MAX_RULES = 10_000
/** Patterns in `require_online`. */
export const MAX_ONLINE = 1_000

/** Keys are the caller's text: an error echoes no more of one than this. */
const MAX_KEY_SHOWN = 64

const LISTS = ['allow', 'deny', 'require_approval'] as const
const MEMBERS = [...LISTS, 'require_online'] as const

/** Compiles the patterns of a rule; what it reports takes its place among the document's other mistakes. */
export type VisitRule = (
  list: RuleList,
  index: number,
  rule: Rule,
  report: (member: 'action' | 'resource', message: string) => void,
) => void

/**
 * Reads a policy document strictly: unknown members, wrong types and unusable conditions are all reported at once, in
 * document order, each with its path. `visit` sees every rule that has an action. Never throws on JSON.
 */
export function readDocument(
  source: unknown,
  env: CompileEnv,
  visit: VisitRule,
): Result<PolicyDocument, CompileError[]> {
  const reader = new Reader(env, visit)
  const document = reader.document(source)
  return reader.errors.length > 0 ? err(reader.errors) : ok(document)
}

/**
 * The document as JSON for storage and hashing: the three lists always present, `require_online` only with something
 * in it, an absent or null resource left out, all text as typed. Two documents that differ only in that have the same form.
 * @throws TypeError for a document that has not been compiled without errors.
 */
export function canonicalDocument(document: unknown): Json {
  // Whether a zone exists was settled when the document was compiled, and may differ between hosts.
  const read = readDocument(document, { isZone: () => true }, () => {})
  if (!read.ok) throw new TypeError('only a policy that compiles has a canonical form')
  const { allow, deny, require_approval, require_online = [] } = read.value
  return {
    allow: allow.map(canonicalRule),
    deny: deny.map(canonicalRule),
    require_approval: require_approval.map(canonicalRule),
    ...(require_online.length > 0 && { require_online }),
  }
}

function canonicalRule({ action, resource, conditions, workflow }: Rule): Json {
  const { env, time_range: range, day_of_week, request } = conditions ?? {}
  const canonical: Json = {
    ...(env !== undefined && { env }),
    ...(range && {
      time_range: { start: range.start, end: range.end, ...(range.tz !== undefined && { tz: range.tz }) },
    }),
    ...(day_of_week !== undefined && { day_of_week }),
    ...(request !== undefined && { request: request as Json }),
  }
  return {
    action,
    ...(typeof resource === 'string' && { resource }),
    ...(Object.keys(canonical).length > 0 && { conditions: canonical }),
    ...(workflow !== undefined && { workflow }),
  }
}

type Members = { readonly [key: string]: unknown }

class Reader {
  readonly errors: CompileError[] = []
  /** How many values conditions on the request compare, in all rules so far. */
  private values = 0

  constructor(
    private readonly env: CompileEnv,
    private readonly visit: VisitRule,
  ) {}

  document(source: unknown): PolicyDocument {
    const members = this.object(source, '', MEMBERS)
    const lists = LISTS.map((name) => own(members, name))
    const count = lists.reduce<number>((sum, list) => sum + (Array.isArray(list) ? list.length : 0), 0)
    if (count > MAX_RULES) {
      this.report(
        '',
        `a policy holds at most ${MAX_RULES} rules, this one has ${count}: write fewer, wider rules`,
      )
      return { allow: [], deny: [], require_approval: [] }
    }
    const document = {
      allow: this.list(lists[0], 'allow'),
      deny: this.list(lists[1], 'deny'),
      require_approval: this.list(lists[2], 'require_approval'),
      require_online: this.online(own(members, 'require_online')),
    }
    if (this.values > MAX_POLICY_VALUES)
      this.report('', `a policy compares at most ${MAX_POLICY_VALUES} values in conditions on requests`)
    return document
  }

  private online(value: unknown): string[] {
    const path = 'require_online'
    if (value === undefined) return []
    if (!Array.isArray(value) || value.length > MAX_ONLINE) {
      this.report(path, `must be a list of at most ${MAX_ONLINE} patterns of actions, such as ["send:*"]`)
      return []
    }
    return Array.from(value, (pattern: unknown, index) => {
      const text = typeof pattern === 'string' ? pattern : ''
      const compiled = compileDenyAction(text)
      if (text.trim() === '')
        this.report(`${path}[${index}]`, 'must be a pattern of actions; "*" is any action')
      else if (!compiled.ok) this.report(`${path}[${index}]`, compiled.errors)
      return text
    })
  }

  private list(value: unknown, list: RuleList): Rule[] {
    if (value === undefined) return []
    if (Array.isArray(value)) return Array.from(value, (rule: unknown, index) => this.rule(rule, list, index))
    this.report(list, 'must be a list of rules')
    return []
  }

  private rule(value: unknown, list: RuleList, index: number): Rule {
    const path = `${list}[${index}]`
    const known = ['action', 'resource', 'conditions']
    // Only an approval rule has somebody to ask.
    if (list === 'require_approval') known.push('workflow')
    const members = this.object(value, path, known)
    if (!members) return { action: '' }
    const workflow = list === 'require_approval' ? own(members, 'workflow') : undefined
    const action = own(members, 'action')
    const resource = own(members, 'resource')
    const conditions = own(members, 'conditions')
    if (action === undefined) this.report(`${path}.action`, 'is required, such as "read:file"')
    else if (typeof action !== 'string') this.report(`${path}.action`, 'must be text, such as "read:file"')
    else if (action.trim() === '') this.report(`${path}.action`, 'must not be empty; "*" is any action')
    if (resource !== undefined && resource !== null && typeof resource !== 'string') {
      this.report(`${path}.resource`, 'must be text, or left out for any resource')
    }
    const rule: Rule = {
      action: typeof action === 'string' ? action : '',
      ...(typeof resource === 'string' && { resource }),
      ...(conditions !== undefined && { conditions: this.conditions(conditions, `${path}.conditions`) }),
      ...(workflow !== undefined && { workflow: this.workflow(workflow, `${path}.workflow`) }),
    }
    if (rule.action.trim() !== '') {
      this.visit(list, index, rule, (member, message) => this.report(`${path}.${member}`, message))
    }
    return rule
  }

  private workflow(value: unknown, path: string): string {
    const isWorkflow = (name: string): boolean =>
      WORKFLOW_NAME.test(name) && (this.env.isWorkflow?.(name) ?? true)
    return this.name(
      value,
      path,
      isWorkflow,
      'the name of a workflow of this organization, such as "standard"',
    )
  }

  private conditions(value: unknown, path: string): Conditions {
    const members = this.object(value, path, ['env', 'time_range', 'day_of_week', 'request'])
    const env = own(members, 'env')
    const range = own(members, 'time_range')
    const days = own(members, 'day_of_week')
    const request = own(members, 'request')
    return {
      ...(env !== undefined && {
        env: this.names(env, `${path}.env`, (name) => readEnvironment(name) !== null, 'dev, stage or prod'),
      }),
      ...(range !== undefined && { time_range: this.timeRange(range, `${path}.time_range`) }),
      ...(days !== undefined && {
        day_of_week: this.names(
          days,
          `${path}.day_of_week`,
          (name) => readDay(name) !== null,
          'a day, such as "Monday" or "Mon"',
        ),
      }),
      ...(request !== undefined && {
        request: this.request(request, `${path}.request`),
      }),
    }
  }

  private request(value: unknown, path: string): RequestConditions {
    const request = readRequestConditions(value, path, (where, message) => this.report(where, message))
    this.values += countValues(request)
    return request
  }

  /** One name or a list of at least one, each of which must be `usable`. */
  private names(
    value: unknown,
    path: string,
    usable: (name: string) => boolean,
    wanted: string,
  ): string | readonly string[] {
    if (!Array.isArray(value)) return this.name(value, path, usable, wanted)
    if (value.length === 0) this.report(path, 'must not be an empty list: name at least one, or leave it out')
    return Array.from(value, (name: unknown, index) => this.name(name, `${path}[${index}]`, usable, wanted))
  }

  private name(value: unknown, path: string, usable: (name: string) => boolean, wanted: string): string {
    if (typeof value === 'string' && usable(value)) return value
    this.report(path, `must be ${wanted}`)
    return ''
  }

  private timeRange(value: unknown, path: string): TimeRange {
    const members = this.object(value, path, ['start', 'end', 'tz'])
    if (!members) return { start: '', end: '' }
    const isClock = (text: string): boolean => readClock(text) !== null
    const clock = 'a time of day from "00:00" to "23:59"'
    const tz = own(members, 'tz')
    return {
      start: this.name(own(members, 'start'), `${path}.start`, isClock, clock),
      end: this.name(own(members, 'end'), `${path}.end`, isClock, clock),
      ...(tz !== undefined && {
        tz: this.name(
          tz,
          `${path}.tz`,
          (name) => isZone(name, this.env),
          'a time zone, such as "Europe/Berlin"',
        ),
      }),
    }
  }

  /** The value as an object with no members but `known`; null, and reported, when it is no object. */
  private object(value: unknown, path: string, known: readonly string[]): Members | null {
    if (!isObject(value)) {
      this.report(path, 'must be an object')
      return null
    }
    for (const key of Object.keys(value)) {
      if (!known.includes(key)) {
        const name = key.slice(0, MAX_KEY_SHOWN)
        this.report(
          path === '' ? name : `${path}.${name}`,
          `is not known here; known are ${known.join(', ')}`,
        )
      }
    }
    return value
  }

  private report(path: string, message: string): void {
    this.errors.push({ path, message })
  }
}

function isObject(value: unknown): value is Members {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

// Own members only: what a prototype says is not part of the document.
function own(members: Members | null, key: string): unknown {
  return members !== null && Object.hasOwn(members, key) ? members[key] : undefined
}
