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

/** Columns that an entry of this type fixes besides id, ts, type and organization. */
const FIXED: Readonly<Record<string, readonly (keyof Projections)[]>> = {
  decision: ['agent_id', 'action_key', 'allowed', 'decision_id'],
  action: ['agent_id', 'action_key', 'allowed', 'decision_id'],
  config: ['agent_id', 'action_key', 'allowed', 'decision_id'],
  approval: ['agent_id', 'action_key', 'allowed', 'decision_id'],
  kill: ['agent_id', 'action_key', 'allowed', 'decision_id'],
  redaction: ['agent_id', 'action_key', 'allowed', 'decision_id'],
  epoch: ['agent_id', 'action_key', 'allowed', 'decision_id'],
}

const ORIGIN = /\/([^/]+)\/e[1-9]\d*$/

/**
 * The first column that differs from what the entry says; null when all agree.
 * @param text the entry's bytes as text
 * @returns the column's name, or `entry` when the bytes are not an entry at all
 */
export function differingColumn(columns: Projections, text: string): keyof Projections | 'entry' | null {
  const entry = parse(text)
  if (!entry) return 'entry'
  if (ORIGIN.exec(stringOf(entry.log) ?? '')?.[1] !== columns.org_id) return 'org_id'
  const id = stringOf(entry.id)
  if (id === null || !isUuid(id) || id !== columns.id) return 'id'
  const ts = Date.parse(stringOf(entry.ts) ?? '')
  if (ts !== columns.ts) return 'ts'
  if (stringOf(entry.type) !== columns.type) return 'type'
  const stated = statedBy(entry)
  for (const column of FIXED[columns.type] ?? []) {
    if (stated[column] !== columns[column]) return column
  }
  return null
}

/** The agent that an entry is about; null for none, and for bytes that are not an entry. */
export const agentOf = (text: string): string | null => {
  const entry = parse(text)
  return entry && stringOf(objectOf(entry.subject)?.agent_id)
}

function statedBy(entry: Members): Partial<Projections> {
  const decision = objectOf(entry.decision)
  const report = objectOf(entry.report)
  return {
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
