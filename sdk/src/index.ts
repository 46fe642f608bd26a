/** `@agentguard/sdk`: ask AgentGuard before every action of an agent, and administer it. */
export { AgentGuardClient } from './agentguard-client.js'
export { AgentGuard, type AgentGuardOptions } from './client.js'
export * from './errors.js'
export type * from './generated/openapi.js'
export { List, Page } from './pages.js'
export type { Fetch, RequestOptions } from './transport.js'
export type * from './types.js'
export { VERSION } from './version.js'
