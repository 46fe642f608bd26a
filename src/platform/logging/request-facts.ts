/** What a handler knows and the request's log line should say (row AG-97). */
export interface RequestFacts {
  agent_id?: string
  action?: string
  allowed?: boolean
}

const FACTS = Symbol('agentguard:facts')

interface WithFacts {
  [FACTS]?: RequestFacts
}

/** Adds facts to the log line of this request: `note(request, { action, allowed })`. Never bodies or secrets. */
export function note(request: object, facts: RequestFacts): void {
  const carrier = request as WithFacts
  carrier[FACTS] = { ...carrier[FACTS], ...facts }
}

/** The facts noted so far. */
export const factsOf = (request: object): RequestFacts | undefined => (request as WithFacts)[FACTS]
