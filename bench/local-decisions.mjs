// What a decision costs that an agent makes by itself: with 100 mixed rules, the decision alone (reading, deciding), and
// the whole of `enforce` with its record fsynced, one after the other and 256 at a time.
//   npm run -s build:sdk && node bench/local-decisions.mjs [folder of the spool]
import { createHash, generateKeyPairSync, sign } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { LocalGuard } from '../sdk/dist/local.js'

const { publicKey, privateKey } = generateKeyPairSync('ed25519')
const kid = 'tsk_bench'
const keys = [{ ...publicKey.export({ format: 'jwk' }), kid }]
const sha256 = (text) => createHash('sha256').update(text).digest('hex')

function statement(typ, body) {
  const parts = [JSON.stringify({ alg: 'EdDSA', kid, typ }), JSON.stringify(body)]
  const signed = parts.map((part) => Buffer.from(part).toString('base64url')).join('.')
  return `${signed}.${sign(null, Buffer.from(signed), privateKey).toString('base64url')}`
}

const resource = (n) => (n % 2 === 0 ? { resource: `s3://bucket-${n}/*` } : {})
const verb = (n) => ['read', 'write', 'call', 'list'][n % 4]
const document = JSON.stringify({
  allow: Array.from({ length: 60 }, (_, n) => ({ action: `${verb(n)}:thing ${n}`, ...resource(n) })),
  deny: Array.from({ length: 30 }, (_, n) => ({ action: `delete:thing ${n}`, ...resource(n) })),
  require_approval: Array.from({ length: 10 }, (_, n) => ({ action: `pay:thing ${n}` })),
})
const digest = sha256(document)
const manifest = statement('agentguard-bundle+jws', {
  v: 1,
  org_id: 'org_a',
  log: 'bench/org_a/e1',
  agent: { agent_id: 'agt_a', environment: 'prod', team: 'ops', key_id: 'key_a' },
  config: { installation: 1, organization: 1, agent: 1 },
  engine: { semantics: 1, stages: { kill: 1, rules: 1 } },
  policies: [{ scope: 'agent', id: 'pol_a', version: 1, sha256: digest }],
  kill: [],
})

async function fetch(url, init) {
  const headers = { 'Content-Type': 'application/json' }
  if (url.endsWith('/decisions')) {
    const { decisions } = JSON.parse(init.body)
    return new Response(JSON.stringify({ next_seq: decisions.at(-1).seq + 1, recorded: [] }), { headers })
  }
  const now = Date.now()
  const nonce = init.headers.get('AgentGuard-Nonce')
  const lease = { v: 1, manifest: sha256(manifest), issued_at: now, lease_until: now + 60_000, nonce }
  headers['AgentGuard-Lease'] = statement('agentguard-lease+jws', lease)
  return new Response(JSON.stringify({ manifest, policies: [{ sha256: digest, document }] }), { headers })
}

const dir = mkdtempSync(path.join(process.argv[2] ?? tmpdir(), 'agentguard-bench-'))
const guard = new LocalGuard({
  agentKey: 'agk_x',
  agentId: 'agt_a',
  baseURL: 'http://bench.test',
  spool: dir,
  fetch,
  keys,
  follow: false,
})
await guard.ready()
const requests = Array.from({ length: 100 }, (_, n) => ({
  action: n % 3 === 0 ? `delete thing ${n % 30}` : `${verb(n)} thing ${n % 60}`,
  resource: `s3://bucket-${n % 60}/reports/file-${n}.pdf`,
  arguments: { path: `reports/file-${n}.pdf`, limit: n },
}))

const held = await guard.source.usable()
const median = (numbers) => numbers.sort((a, b) => a - b)[numbers.length >> 1]
const rounds = []
for (let round = 0; round < 21; round++) {
  // CPU time: on a machine that others use, wall time measures them.
  const began = process.cpuUsage()
  for (let n = 0; n < 20_000; n++) guard.decide(held, requests[n % 100])
  const { user, system } = process.cpuUsage(began)
  rounds.push((user + system) / 20_000)
}
const [best, middle] = [Math.min(...rounds), median(rounds)].map((us) => us.toFixed(2))
console.log(`a decision:                 ${middle} us CPU (median of 21 rounds of 20,000; best ${best} us)`)

const alone = []
for (let n = 0; n < 300; n++) {
  const began = performance.now()
  await guard.enforce(requests[n % 100])
  alone.push(performance.now() - began)
}
console.log(`enforce, one by one:        ${(median(alone) * 1000).toFixed(0)} us (fsync each)`)

const began = performance.now()
const ASKERS = 256
const EACH = 80
await Promise.all(
  Array.from({ length: ASKERS }, async (_, asker) => {
    for (let n = 0; n < EACH; n++) await guard.enforce(requests[(asker + n) % 100])
  }),
)
const seconds = (performance.now() - began) / 1000
console.log(
  `enforce, ${ASKERS} at a time:    ${Math.round((ASKERS * EACH) / seconds)} a second, fsynced together`,
)
await guard.close()
rmSync(dir, { recursive: true, force: true })
