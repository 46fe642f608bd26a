import { createHash, generateKeyPairSync, sign } from 'node:crypto'
import { canonicalize } from '../../src/core/ledger/canonical.js'
import { canonicalDocument } from '../../src/core/policy/compile.js'
import { ENGINE } from '../../src/core/policy/decide.js'
import { encodeManifest, LEASE_TYPE, type Manifest, MANIFEST_TYPE } from '../../src/core/policy/local.js'
import type { Scope } from '../../src/core/policy/stages/runner.js'
import type { Clocks } from '../../sdk/src/local/source.js'

interface Batch {
  spool: string
  manifest: string
  lease: string
  decisions: { seq: number; action: string; effect: string; decided_at: number; arguments?: unknown }[]
}

const sha256 = (text: string) => createHash('sha256').update(text).digest('hex')
const json = (status: number, body: unknown, headers = {}) =>
  new Response(JSON.stringify(body), { status, headers: { 'Content-Type': 'application/json', ...headers } })

/** As much of the service as a `LocalGuard` talks to, in this process and with a clock that stands still. */
export class LocalService {
  readonly agent = { agent_id: 'agt_local', environment: 'prod', team: 'ops', key_id: 'key_local' } as const
  readonly batches: Batch[] = []
  /** What was asked online. */
  readonly asked: string[] = []
  documents: Partial<Record<Scope, object>> = { agent: { allow: [{ action: 'read:*' }] } }
  kill: Manifest['kill'] = []
  config = { installation: 1, organization: 1, agent: 1 }
  engine: Manifest['engine'] = ENGINE
  lease_ms = 5_000
  /** Milliseconds: of the service and, as the client sees it, of the machine. */
  time = Date.UTC(2026, 0, 5, 12)
  /** Instead of an answer to what begins with this path. */
  readonly instead = new Map<string, (answer: () => Response) => Response | Promise<Response>>()
  private readonly pair = generateKeyPairSync('ed25519')
  private next_seq = new Map<string, number>()
  kid = 'tsk_local'

  clocks = (): Clocks => ({ monotonic: this.time, wall: this.time })

  get key() {
    return { ...this.pair.publicKey.export({ format: 'jwk' }), kid: this.kid, alg: 'EdDSA', use: 'sig' }
  }

  fetch = async (url: string, init: RequestInit): Promise<Response> => {
    const path = new URL(url).pathname
    const answer = () => this.answer(path, init)
    const [, other] = [...this.instead].find(([prefix]) => path.startsWith(prefix)) ?? []
    return Promise.resolve(other ? other(answer) : answer())
  }

  statement(typ: string, text: string): string {
    const header = JSON.stringify({ alg: 'EdDSA', kid: this.kid, typ })
    const signed = [header, text].map((part) => Buffer.from(part).toString('base64url')).join('.')
    return `${signed}.${sign(null, Buffer.from(signed), this.pair.privateKey).toString('base64url')}`
  }

  private answer(path: string, init: RequestInit): Response {
    const headers = init.headers as Headers
    if (path === '/.well-known/jwks.json') return json(200, { keys: [this.key] })
    if (path.endsWith('/bundle')) return this.bundle(headers)
    if (path.endsWith('/decisions')) return this.record(JSON.parse(init.body as string) as Batch)
    if (path === '/v1/events') return json(404, {})
    if (path !== '/v1/enforce') return json(201, {})
    this.asked.push((JSON.parse(init.body as string) as { action: string }).action)
    return json(200, { allowed: true, status: 'allowed', decision_id: String(this.asked.length) })
  }

  private bundle(headers: Headers): Response {
    const documents = Object.entries(this.documents).map(([scope, document]) => {
      const text = canonicalize(canonicalDocument(document))
      return { scope: scope as Scope, text, sha256: sha256(text) }
    })
    const manifest = this.statement(
      MANIFEST_TYPE,
      encodeManifest({
        v: 1,
        org_id: 'org_local',
        log: 'x/org_local/e1',
        agent: this.agent,
        config: this.config,
        engine: this.engine,
        policies: documents.map(({ scope, sha256: digest }) => ({
          scope,
          id: `pol_${scope}`,
          version: 1,
          sha256: digest,
        })),
        kill: this.kill,
      }),
    )
    const nonce = headers.get('AgentGuard-Nonce')
    const times = { issued_at: this.time, lease_until: this.time + this.lease_ms }
    const lease = JSON.stringify({ v: 1, manifest: sha256(manifest), ...times, ...(nonce && { nonce }) })
    const etag = `"${sha256(manifest)}"`
    const sent = { ETag: etag, 'AgentGuard-Lease': this.statement(LEASE_TYPE, lease) }
    if (headers.get('If-None-Match') === etag) return new Response(null, { status: 304, headers: sent })
    const policies = documents.map(({ sha256: digest, text }) => ({ sha256: digest, document: text }))
    return json(200, { manifest, policies }, sent)
  }

  private record(batch: Batch): Response {
    this.batches.push(batch)
    const next = this.next_seq.get(batch.spool) ?? 0
    const fresh = batch.decisions.filter(({ seq }) => seq >= next)
    this.next_seq.set(batch.spool, next + fresh.length)
    const recorded = fresh.map(({ seq }) => ({ seq, log_id: `log_${seq}`, index: seq, agrees: true }))
    return json(200, { next_seq: next + fresh.length, recorded })
  }

  /** The decisions that it has got, in order, as `action effect`. */
  get recorded(): string[] {
    return this.batches.flatMap(({ decisions }) =>
      decisions.map(({ action, effect }) => `${action} ${effect}`),
    )
  }
}
