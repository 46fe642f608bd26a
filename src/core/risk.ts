/** How much harm an agent can do, as people rate it; from the least (rows CP-2, CP-86). */
export const RISK_LEVELS = ['low', 'medium', 'high', 'critical'] as const
export type RiskLevel = (typeof RISK_LEVELS)[number]

/** Whether a risk is at least as high as another. Nobody knows the risk of an agent that is not rated: it is no level. */
export const isAtLeast = (risk: RiskLevel | null, floor: RiskLevel): boolean =>
  risk !== null && RISK_LEVELS.indexOf(risk) >= RISK_LEVELS.indexOf(floor)
