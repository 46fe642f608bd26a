import { isAtLeast, RISK_LEVELS, type RiskLevel } from '../risk.js'
import type { Workflow } from './workflow.js'

/** The levels, and agents that nobody has rated. */
export const CLASSES_OF_RISK = ['unrated', ...RISK_LEVELS] as const
export type ClassOfRisk = (typeof CLASSES_OF_RISK)[number]

export const classOf = (level: RiskLevel | null): ClassOfRisk => level ?? 'unrated'

/** The workflow that agents of each risk wait for besides those of the rules; null: none. */
export type RiskWorkflows = Readonly<Record<ClassOfRisk, string | null>>

/** What every organization has until it chooses (rows CP-2, CP-86). */
export const SHIPPED_RISK_WORKFLOWS: RiskWorkflows = {
  unrated: null,
  low: null,
  medium: null,
  high: 'high-risk',
  critical: 'critical',
}

/** The risk of an agent when it asks, and the workflow that joins those of the rules for it. */
export interface RiskChoice {
  readonly level: RiskLevel | null
  readonly workflow: string | null
}

/**
 * A workflow as it is for an agent of this risk: where it escalates at once, whoever decides at its second level decides
 * from the beginning.
 */
export function atRisk(workflow: Workflow, level: RiskLevel | null): Workflow {
  const { escalate_at_risk: floor, levels } = workflow
  const escalates = floor !== null && levels.length > 1 && isAtLeast(level, floor)
  return escalates ? { ...workflow, levels: levels.slice(1) } : workflow
}
