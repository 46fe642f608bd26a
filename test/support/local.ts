import type { Lease, Manifest } from '../../src/core/policy/local.js'
import type { Client } from './client.js'

interface Bundle {
  manifest: string
  policies: { sha256: string; document: string }[]
}

/** A bundle with its lease, as an agent holds it. Nothing of it is verified. */
export interface Held {
  readonly manifest: string
  readonly lease: string
  readonly about: Manifest
  readonly times: Lease
}

/** What a JWS says, believed. */
export const saidBy = <T>(jws: string): T =>
  JSON.parse(Buffer.from(jws.split('.')[1] ?? '', 'base64url').toString()) as T

/** Asks for the bundle of the agent that `client` speaks for. */
export async function held(client: Client, agent_id: string): Promise<Held> {
  const answer = await client.get<Bundle>(`/agents/${agent_id}/bundle`)
  if (answer.status !== 200) throw new Error(answer.text)
  const lease = answer.headers.get('AgentGuard-Lease') ?? ''
  const { manifest } = answer.body
  return { manifest, lease, about: saidBy<Manifest>(manifest), times: saidBy<Lease>(lease) }
}

/** A decision as an honest agent states it, where `action` is allowed by the rule `pattern`. */
export const allowed = (seq: number, { times }: Held, action = 'read:file', pattern = 'read:*') => ({
  seq,
  decided_at: times.issued_at + 1,
  action,
  effect: 'allow',
  code: 'allow_rule',
  reason: `Matched allow rule: ${pattern} on *`,
})
