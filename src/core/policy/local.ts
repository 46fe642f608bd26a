/**
 * Decisions that an agent makes by itself, from a bundle of the service (docs/local-decisions.md): what a bundle says,
 * and which requests it is enough for. One definition for the service, which checks every such decision again, and for
 * the SDK, which makes them.
 */
import { canonicalize, type Json } from '../ledger/canonical.js'
import type { ConfigVersions, EntryPolicy } from '../ledger/entry.js'
import { err, ok, type Result } from '../result.js'
import { type Decision, decide, factsNeeded, type PolicyRef } from './decide.js'
import { type AgentFacts, type CanonicalRequest, ENVIRONMENTS } from './stage.js'
import { type ActiveKill, type KillFact, readKillFacts } from './stages/kill.js'
import { SCOPES } from './stages/runner.js'

/** Types of the two JWS (RFC 7515) that the service signs; each is refused where the other one is wanted. */
export const MANIFEST_TYPE = 'agentguard-bundle+jws'
export const LEASE_TYPE = 'agentguard-lease+jws'

/** Everything that the decisions of one agent are made from, but for the documents that its digests name. */
export interface Manifest {
  readonly v: 1
  readonly org_id: string
  /** Origin of the organization's log. */
  readonly log: string
  readonly agent: AgentFacts & { readonly team: string }
  readonly config: Required<ConfigVersions>
  readonly engine: { readonly semantics: number; readonly stages: Readonly<Record<string, number>> }
  readonly policies: readonly (EntryPolicy & Pick<PolicyRef, 'scope'>)[]
  readonly kill: readonly KillFact[]
}

/** How long a manifest may be decided from. Times are the service's. */
export interface Lease {
  readonly v: 1
  /** Hexadecimal SHA-256 of the manifest's JWS. */
  readonly manifest: string
  /** Milliseconds since 1970. What the manifest says was read after this. */
  readonly issued_at: number
  readonly lease_until: number
  /** What the agent sent with its question, so that an old answer is none to a new question. */
  readonly nonce?: string
}

/** What an agent may send as a nonce. */
export const NONCE = /^[\w-]{16,64}$/

/** Why a request has to be asked of the service. */
export type OnlineReason =
  /** A policy says so. */
  | 'require_online'
  /** A rule asks for people. */
  | 'approval'
  /** A rule has a condition that needs a fact which the agent has not: the offset of a time zone. */
  | 'facts'

export type LocalAnswer = { readonly decision: Decision } | { readonly online: OnlineReason }

/**
 * Decides a request from a manifest, or says that it must be asked of the service. Never `pending`.
 * @param now milliseconds, by the service's clock as the lease tells it
 */
export function decideLocally(
  policies: readonly PolicyRef[],
  request: CanonicalRequest,
  agent: AgentFacts,
  now: number,
  kill: readonly ActiveKill[],
): LocalAnswer {
  if (request.approval_id !== null) return { online: 'approval' }
  if (requiresOnline(policies, request)) return { online: 'require_online' }
  if (factsNeeded(policies, request, agent).length > 0) return { online: 'facts' }
  const decision = decide(policies, request, agent, now, { kill })
  return decision.effect === 'pending' ? { online: 'approval' } : { decision }
}

/** Whether a policy says that only the service decides this. */
export function requiresOnline(policies: readonly PolicyRef[], request: CanonicalRequest): boolean {
  for (const { compiled } of policies)
    for (const pattern of compiled.rules.online) if (pattern.matches(request.action)) return true
  return false
}

/** The one text of a manifest. */
export const encodeManifest = (manifest: Manifest): string => canonicalize(manifest as unknown as Json)

/** @returns what is wrong with it, in words */
export function readManifest(text: string): Result<Manifest, string> {
  const value = parse(text)
  if (!isMembers(value) || value.v !== 1) return err('it is no manifest of this version')
  const { org_id, log, agent, config, engine, policies, kill } = value
  if (typeof org_id !== 'string' || typeof log !== 'string') return err('it names no log')
  if (!isMembers(agent) || !isAgent(agent)) return err('it names no agent')
  if (!isMembers(config) || ![config.installation, config.organization, config.agent].every(isCount))
    return err('it has no versions')
  if (!isMembers(engine) || !isCount(engine.semantics) || !isMembers(engine.stages))
    return err('it names no engine')
  if (!Array.isArray(policies) || !policies.every(isPolicy)) return err('its policies cannot be read')
  if (kill === undefined || readKillFacts(kill as Json) === null)
    return err('its kill switches cannot be read')
  return ok(value as unknown as Manifest)
}

/** @returns what is wrong with it, in words */
export function readLease(text: string): Result<Lease, string> {
  const value = parse(text)
  if (!isMembers(value) || value.v !== 1) return err('it is no lease of this version')
  if (typeof value.manifest !== 'string' || !isCount(value.issued_at) || !isCount(value.lease_until))
    return err('it is not complete')
  return ok(value as unknown as Lease)
}

type Members = Readonly<Record<string, unknown>>

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}

const isMembers = (value: unknown): value is Members =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && Number(value) >= 0
const isAgent = ({ agent_id, environment, team, key_id }: Members): boolean =>
  typeof agent_id === 'string' &&
  typeof team === 'string' &&
  ENVIRONMENTS.some((name) => name === environment) &&
  (key_id === undefined || typeof key_id === 'string')
const isPolicy = (value: unknown): boolean =>
  isMembers(value) &&
  SCOPES.some((scope) => scope === value.scope) &&
  typeof value.id === 'string' &&
  typeof value.sha256 === 'string' &&
  isCount(value.version)
