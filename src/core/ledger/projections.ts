/**
 * The columns beside an entry are projections of it, for filters. This says what they must be, from the entry's
 * bytes alone, so that a changed column is found by whoever reads both.
 */
import { isUuid } from '../ids.js'

/** The columns of one stored entry. Times in milliseconds. */
export interface Projections {
  readonly org_id: string
  readonly id: string
  readonly ts: number
  readonly type: string
  readonly agent_id: string | null
  readonly action_key: string | null
  readonly allowed: boolean | null
  readonly decision_id: string | null
}

/** What an entry states of its columns; null where it states nothing that a column could hold. */
export type Stated = {
  readonly [column in Exclude<keyof Projections, 'ts'>]: Projections[column] | null
} & { readonly ts: string | null }

/** Columns that may be empty. */
const OPTIONAL = ['agent_id', 'action_key', 'allowed', 'decision_id'] as const

const ORIGIN = /\/([^/]+)\/e[1-9]\d*$/

/**
 * The first column that differs from what the entry says; null when all agree.
 * @param text the entry's bytes as text
 * @returns the column's name, or `entry` when the bytes are not an entry at all
 */
export function differingColumn(columns: Projections, text: string): keyof Projections | 'entry' | null {
  const stated = statedIn(text)
  if (!stated) return 'entry'
  if (stated.org_id !== columns.org_id) return 'org_id'
  if (stated.id === null || !isUuid(stated.id) || stated.id !== columns.id) return 'id'
  if (Date.parse(stated.ts ?? '') !== columns.ts) return 'ts'
  if (stated.type !== columns.type) return 'type'
  for (const column of OPTIONAL) {
    if (stated[column] !== columns[column]) return column
  }
  return null
}

/** The agent that an entry is about; null for none, and for bytes that are not an entry. */
export const agentOf = (text: string): string | null => {
  const entry = parse(text)
  return entry && stringOf(objectOf(entry.subject)?.agent_id)
}

/** What the entry states of its columns; null when the bytes are not an entry at all. */
export function statedIn(text: string): Stated | null {
  const entry = parse(text)
  if (!entry) return null
  const decision = objectOf(entry.decision)
  const report = objectOf(entry.report)
  return {
    org_id: ORIGIN.exec(stringOf(entry.log) ?? '')?.[1] ?? null,
    id: stringOf(entry.id),
    ts: stringOf(entry.ts),
    type: stringOf(entry.type),
    agent_id: stringOf(objectOf(entry.subject)?.agent_id),
    action_key: stringOf(objectOf(entry.action)?.key),
    allowed: decision ? decision.effect === 'allow' : booleanOf(report?.allowed),
    decision_id: stringOf(report?.decision_id) ?? stringOf(objectOf(entry.approval)?.decision_id),
  }
}

type Members = Readonly<Record<string, unknown>>

function parse(text: string): Members | null {
  try {
    return objectOf(JSON.parse(text))
  } catch {
    return null
  }
}

const objectOf = (value: unknown): Members | null =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Members) : null
const stringOf = (value: unknown): string | null => (typeof value === 'string' ? value : null)
const booleanOf = (value: unknown): boolean | null => (typeof value === 'boolean' ? value : null)
