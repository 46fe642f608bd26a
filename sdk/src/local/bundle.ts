import { hash, randomBytes } from 'node:crypto'
import { ENGINE, type PolicyRef } from '../../../src/core/policy/decide.js'
import {
  type Lease,
  LEASE_TYPE,
  type Manifest,
  MANIFEST_TYPE,
  readLease,
  readManifest,
} from '../../../src/core/policy/local.js'
import { compileRecorded } from '../../../src/core/policy/replay.js'
import { type ActiveKill, compileKills } from '../../../src/core/policy/stages/kill.js'
import type { Bundle } from '../generated/openapi.js'
import { LocalRefused } from './refused.js'
import { invalid, type Statements } from './statements.js'

/** A bundle that was verified, ready to decide from. */
export interface OpenBundle {
  readonly etag: string
  /** As it was signed. */
  readonly jws: string
  readonly manifest: Manifest
  readonly policies: readonly PolicyRef[]
  readonly kill: readonly ActiveKill[]
}

/** Verifies a bundle and compiles its policies. @throws LocalRefused */
export async function openBundle(
  { manifest: jws, policies: documents }: Bundle,
  etag: string,
  agent_id: string,
  statements: Statements,
): Promise<OpenBundle> {
  const read = readManifest(await statements.read(MANIFEST_TYPE, jws))
  if (!read.ok) throw invalid(read.errors)
  const manifest = read.value
  if (manifest.agent.agent_id !== agent_id || manifest.agent.key_id === undefined)
    throw invalid('it is the bundle of another agent')
  assertEngine(manifest)
  const texts = new Map(documents.map(({ document }) => [hash('sha256', document, 'hex'), document]))
  const policies = manifest.policies.map((policy): PolicyRef => {
    const compiled = compileRecorded(texts.get(policy.sha256) ?? '')
    if (!compiled) throw invalid(`the policy ${policy.id} is not there, or cannot be read`)
    return { ...policy, compiled }
  })
  return { etag, jws, manifest, policies, kill: compileKills(manifest.kill) }
}

/** Whoever decides must do so exactly as the service does. */
function assertEngine({ engine }: Manifest): void {
  const stages = Object.entries(ENGINE.stages)
  const same =
    engine.semantics === ENGINE.semantics &&
    Object.keys(engine.stages).length === stages.length &&
    stages.every(([name, version]) => engine.stages[name] === version)
  if (!same) throw new LocalRefused('engine_unknown', 'the service has another engine: update this package')
}

export const makeNonce = (): string => randomBytes(18).toString('base64url')

/** Verifies a lease of this bundle, given to this very question. @throws LocalRefused */
export async function openLease(
  jws: string | null,
  bundle: OpenBundle,
  nonce: string,
  statements: Statements,
): Promise<Lease> {
  const read = readLease(await statements.read(LEASE_TYPE, jws ?? ''))
  if (!read.ok) throw invalid(read.errors)
  const lease = read.value
  if (lease.nonce !== nonce) throw invalid('the lease answers another question')
  if (lease.manifest !== hash('sha256', bundle.jws, 'hex')) throw invalid('the lease is of another bundle')
  return lease
}

/** Whether `next` was read before `held`: the configuration of an agent never goes back. */
export function isOlder({ config: next }: Manifest, { config: held }: Manifest): boolean {
  return (
    next.installation < held.installation || next.organization < held.organization || next.agent < held.agent
  )
}
