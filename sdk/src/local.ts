/** `@agentguard/sdk/local`: decide in the process, from a signed bundle of the service. Needs Node, Bun or Deno. */
export { LocalGuard, type LocalDecision, type LocalGuardOptions } from './local/local-guard.js'
export type { Disagreement } from './local/recorder.js'
export { LocalRefused, type Refusal } from './local/refused.js'
export type { PublicKey } from './local/statements.js'
