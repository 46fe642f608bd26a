import { createHash, generateKeyPairSync, hash, randomBytes, sign } from 'node:crypto'
import { uuidv7 } from '../../src/core/ids.js'
import { encodeBase64 } from '../../src/core/ledger/base64.js'
import { BUNDLE_FORMAT, type EntryLine, formatLine } from '../../src/core/ledger/bundle.js'
import { canonicalize, type Json } from '../../src/core/ledger/canonical.js'
import { formatCheckpoint } from '../../src/core/ledger/checkpoint.js'
import { type ConfigEntry, type DecisionEntry, type Entry, encodeEntry } from '../../src/core/ledger/entry.js'
import { leafHash, rootOf } from '../../src/core/ledger/merkle.js'
import { formatNote, formatVerifierKey, makeVerifierKey, noteMessage } from '../../src/core/ledger/note.js'
import type { VerifyTools } from '../../src/core/ledger/verify.js'
import { type CompiledPolicy, compilePolicy } from '../../src/core/policy/compile.js'
import { decide, ENGINE, NO_FACTS } from '../../src/core/policy/decide.js'
import { recordedDecision } from '../../src/core/policy/replay.js'
import type { KillScope } from '../../src/core/policy/stages/kill.js'
import { readRequest } from '../../src/core/policy/request.js'
import { verifyEd25519 } from '../../src/ledger/signing.js'

/** Hashing and Ed25519 of Node for the pure verifier. */
export const TOOLS: VerifyTools = {
  sha256: (bytes) => hash('sha256', bytes, 'buffer'),
  utf8: (text) => Buffer.from(text),
  verify: verifyEd25519,
}

const INSTALLATION = 'agentguard.local/0f0f0f0f-0000-4000-8000-000000000000'
const START = Date.UTC(2026, 0, 1)

/** A log of one organization that is made up, but obeys every rule; and the key that signs it. */
export class MadeLog {
  readonly entries: { text: string; entry: Entry; payload: { salt: string; text: string } | null }[] = []
  readonly origin: string
  readonly vkey: string
  private readonly private_key
  private readonly public_key: Uint8Array
  private readonly policies = new Map<string, string>()
  private organization = 1
  private readonly agents = new Map<
    string,
    { version: number; policy: DecisionEntry['policies']; compiled: CompiledPolicy | null }
  >()

  constructor(readonly org_id = 'org_aaaaaaaaaaaaaaaa') {
    this.origin = `${INSTALLATION}/${org_id}/e1`
    const pair = generateKeyPairSync('ed25519')
    this.private_key = pair.privateKey
    const { x } = pair.publicKey.export({ format: 'jwk' })
    this.public_key = Buffer.from(x ?? '', 'base64url')
    this.vkey = formatVerifierKey(makeVerifierKey(TOOLS.sha256, INSTALLATION, 'ed25519', this.public_key))
    this.change(
      'organization.created',
      { kind: 'organization', id: org_id, op: 'created' },
      {
        after: { name: 'made', is_active: true },
      },
    )
  }

  get size(): number {
    return this.entries.length
  }

  /** Appends the entry of a change; `raises` an agent's version. */
  change(
    event: string,
    change: ConfigEntry['change'],
    {
      agent_id,
      after,
      raises = false,
      config,
    }: { agent_id?: string; after?: Json; raises?: boolean; config?: Partial<ConfigEntry['config']> } = {},
  ): number {
    const agent = agent_id === undefined ? undefined : this.agentOf(agent_id)
    if (agent && raises) agent.version++
    return this.append(
      {
        ...this.common(),
        type: 'config',
        event,
        actor: { kind: 'root', id: '' },
        config: {
          installation: 1,
          organization: this.organization,
          ...(agent && raises && { agent: agent.version }),
          ...config,
        },
        change,
        ...(agent_id !== undefined && { subject: { agent_id, environment: 'prod', team: 'ops' } }),
      },
      after === undefined ? null : { after },
    )
  }

  /** Gives an agent a new version of its policy. */
  policy(agent_id: string, document: Json): number {
    const text = canonicalize(document)
    const sha256 = hash('sha256', text, 'hex')
    const agent = this.agentOf(agent_id)
    const version = (agent.policy[0]?.version ?? 0) + 1
    const id = `pol_${agent_id}`
    this.policies.set(sha256, text)
    agent.policy = [{ scope: 'agent', id, version, sha256 }]
    const compiled = compilePolicy(document, { isZone: () => true })
    if (!compiled.ok) throw new Error(JSON.stringify(compiled.errors))
    agent.compiled = compiled.value
    return this.change(
      'policy.updated',
      { kind: 'policy', id, op: 'updated', scope: 'agent', version, sha256 },
      { agent_id, after: document, raises: true },
    )
  }

  /** Appends a decision, made by the engine unless `over` says otherwise. */
  decide(
    agent_id: string,
    request: {
      action: string
      resource?: string
      arguments?: Record<string, Json>
      context?: Record<string, Json>
    },
    over: {
      key_id?: string
      config?: Partial<DecisionEntry['config']>
      policies?: DecisionEntry['policies']
      entry?: object
    } = {},
  ): number {
    const agent = this.agentOf(agent_id)
    const read = readRequest(request)
    if (!read.ok) throw new Error(JSON.stringify(read.errors))
    const common = this.common()
    const { compiled } = agent
    const policies = compiled
      ? agent.policy.map((policy) => ({ ...policy, scope: 'agent' as const, compiled }))
      : []
    const subject = { agent_id, environment: 'prod' as const, team: 'ops' }
    const decision = decide(policies, read.value, subject, Date.parse(common.ts), NO_FACTS)
    const { action, resource } = read.value
    const payload = {
      ...(request.arguments && { arguments: request.arguments }),
      ...(request.context && { context: request.context }),
    }
    return this.append(
      {
        ...common,
        type: 'decision',
        event: 'decision.made',
        actor: { kind: 'agent', id: agent_id, key_id: over.key_id ?? `key_${agent_id}` },
        subject,
        config: { installation: 1, organization: this.organization, agent: agent.version, ...over.config },
        engine: ENGINE,
        action: { raw: action.raw, key: action.key },
        ...(resource && { resource: { raw: resource.raw, key: resource.canonical } }),
        decision: recordedDecision(decision),
        policies: over.policies ?? agent.policy,
        ...over.entry,
      },
      Object.keys(payload).length === 0 ? null : payload,
    )
  }

  /** What an agent says it did. */
  report(agent_id: string, action: string, allowed: boolean): number {
    const subject = { agent_id, environment: 'prod', team: 'ops' }
    return this.append(
      {
        ...this.common(),
        type: 'action',
        event: 'action.reported',
        actor: { kind: 'agent', id: agent_id, key_id: `key_${agent_id}` },
        subject,
        config: { installation: 1, organization: this.organization, agent: this.agentOf(agent_id).version },
        action: { raw: action, key: action },
        report: { allowed, result: 'success' },
      },
      null,
    )
  }

  /** A kill switch comes or goes. */
  kill(op: 'activated' | 'deactivated', scope: KillScope, target?: string, id = `kil_${scope}`): number {
    return this.append(
      {
        ...this.common(),
        type: 'kill',
        event: `kill_switch.${op}`,
        actor: { kind: 'root', id: 'root' },
        config: { installation: 1, organization: ++this.organization },
        kill: { id, op, scope, ...(target !== undefined && { target }), reason: 'made' },
      },
      null,
    )
  }

  raiseOrganization(): void {
    this.organization++
  }

  append(entry: Entry, payload: Readonly<Record<string, Json>> | null): number {
    let sealed = null
    if (payload) {
      const salt = randomBytes(32)
      const text = canonicalize(payload)
      const c = createHash('sha256')
        .update('agentguard/payload/v1\0')
        .update(salt)
        .update(text)
        .digest('base64url')
      entry = { ...entry, payload: { c, fields: Object.keys(payload).sort() } }
      sealed = { salt: encodeBase64(salt), text }
    }
    const text = encodeEntry(entry)
    this.entries.push({ text, entry, payload: sealed })
    return this.entries.length - 1
  }

  /** The signed checkpoint of the first `size` entries. */
  checkpoint(size = this.size): string {
    return this.sign(formatCheckpoint({ origin: this.origin, size, root: this.root(size) }))
  }

  private sign(text: string): string {
    const signature = sign(null, noteMessage(text), this.private_key)
    const { id } = makeVerifierKey(TOOLS.sha256, INSTALLATION, 'ed25519', this.public_key)
    return formatNote(text, [{ name: INSTALLATION, id, signature }])
  }

  /** A checkpoint of one entry more than `size`, whose last entry is another: signed by the same key. */
  forked(size: number): string {
    const leaves = this.entries.slice(0, size).map(({ text }) => leafHash(TOOLS.sha256, Buffer.from(text)))
    const root = rootOf(TOOLS.sha256, [...leaves, leafHash(TOOLS.sha256, Buffer.from('another entry'))])
    return this.sign(formatCheckpoint({ origin: this.origin, size: size + 1, root }))
  }

  root(size = this.size): Uint8Array {
    return rootOf(
      TOOLS.sha256,
      this.entries.slice(0, size).map(({ text }) => leafHash(TOOLS.sha256, Buffer.from(text))),
    )
  }

  /** The bundle of this log. */
  *lines({
    signed = true,
    redacted = new Set<number>(),
  }: { signed?: boolean; redacted?: ReadonlySet<number> } = {}): Generator<string> {
    let lines = 0
    const line = (value: Parameters<typeof formatLine>[0]): string => {
      lines++
      return formatLine(value)
    }
    const made_at = new Date(START).toISOString()
    yield line({
      kind: 'manifest',
      format: BUNDLE_FORMAT,
      org_id: this.org_id,
      origin: this.origin,
      first: 0,
      end: this.size,
      made_at,
    })
    if (signed) {
      yield line({ kind: 'key', vkey: this.vkey, valid_from: made_at, valid_to: null })
      yield line({ kind: 'checkpoint', note: this.checkpoint() })
    }
    const written = new Set<string>()
    for (const [index, { text, entry, payload }] of this.entries.entries()) {
      const named = entry.type === 'decision' ? entry.policies.map(({ sha256 }) => sha256) : []
      if (entry.type === 'config' && entry.change.kind === 'policy') named.push(entry.change.sha256 ?? '')
      for (const sha256 of named) {
        const document = this.policies.get(sha256)
        if (document === undefined || written.has(sha256)) continue
        written.add(sha256)
        yield line({ kind: 'policy', sha256, document })
      }
      yield line(entryLine(index, text, entry, redacted.has(index) ? 'redacted' : payload))
    }
    yield line({ kind: 'end', entries: this.size, policies: written.size, lines: lines + 1 })
  }

  private agentOf(agent_id: string) {
    let agent = this.agents.get(agent_id)
    if (!agent) {
      agent = { version: 1, policy: [], compiled: null }
      this.agents.set(agent_id, agent)
    }
    return agent
  }

  private common() {
    const ts = START + this.entries.length * 10
    return {
      v: 1,
      log: this.origin,
      id: uuidv7(ts, randomBytes(10)),
      ts: new Date(ts).toISOString(),
    } as const
  }
}

function entryLine(
  index: number,
  text: string,
  entry: Entry,
  payload: { salt: string; text: string } | 'redacted' | null,
): EntryLine {
  const decision = entry.type === 'decision' ? entry : null
  const action = entry.type === 'action' ? entry : null
  return {
    kind: 'entry',
    index,
    leaf: encodeBase64(leafHash(TOOLS.sha256, Buffer.from(text))),
    entry: text,
    columns: {
      id: entry.id,
      ts: entry.ts,
      type: entry.type,
      agent_id: entry.type === 'epoch' ? null : (entry.subject?.agent_id ?? null),
      action_key: (decision ?? action)?.action.key ?? null,
      allowed: decision ? decision.decision.effect === 'allow' : (action?.report.allowed ?? null),
      decision_id: action?.report.decision_id ?? null,
    },
    ...(entry.payload && payload && { payload: payload === 'redacted' ? { redacted: true } : payload }),
  }
}

/** A log with `count` entries: agents with policies that change now and then, decisions of every kind, reports. */
export function makeLog(count: number, agents = 20): MadeLog {
  const log = new MadeLog()
  const names = Array.from({ length: agents }, (_, i) => `agt_${String(i).padStart(16, '0')}`)
  for (const name of names) {
    if (log.size >= count) break
    log.change(
      'agent.created',
      { kind: 'agent', id: name, op: 'created' },
      { agent_id: name, after: { name, is_active: true } },
    )
    log.policy(name, documentOf(0))
  }
  for (let i = 0; log.size < count; i++) {
    const name = names[i % names.length] ?? ''
    if (i % 997 === 996) log.policy(name, documentOf(i))
    else if (i % 10 === 9) log.report(name, 'read:file', true)
    else
      log.decide(name, {
        action: ['read:file', 'write:file', 'delete:file', 'send:mail', 'list:folder'][i % 5] ?? '',
        resource: `s3://documents/team-${i % 50}/report-${i}.pdf`,
        ...(i % 4 === 0 && {
          arguments: { to: `person-${i}@example.com`, subject: 'Quarterly report', copies: i % 7 },
        }),
        ...(i % 8 === 0 && { context: { session: `session-${i}`, note: 'naïve “text” with ünïcode' } }),
      })
  }
  return log
}

const documentOf = (i: number): Json => ({
  allow: [{ action: 'read:*', resource: 's3://documents/*' }, { action: 'list:*' }, { action: `made:${i}` }],
  deny: [{ action: 'delete:*' }],
  require_approval: [{ action: 'send:mail' }],
})
