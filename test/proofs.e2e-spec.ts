import { rootOf } from '../src/core/ledger/merkle.js'
import { leafHash } from '../src/core/ledger/merkle.js'
import { verifyProof } from '../src/core/ledger/proof.js'
import { parseVerifierKey } from '../src/core/ledger/note.js'
import { decodeEntries, entriesPath, tilePath } from '../src/core/ledger/tiles.js'
import { verifyConsistency } from '../src/core/ledger/verify-merkle.js'
import { sha256 } from '../src/ledger/tree-tiles.js'
import { verifyEd25519 } from '../src/ledger/signing.js'
import { Client, withoutNames } from './support/client.js'
import { makeAgent, type ProvenApp, readCheckpoint, startProvenApp, until } from './support/proofs.js'

let proven: ProvenApp

beforeAll(async () => {
  proven = await startProvenApp()
})

afterAll(async () => {
  await proven?.close()
})

const raw = async (path: string, client = proven.root) => {
  const response = await fetch(client.url + path, { headers: client.headers })
  return {
    status: response.status,
    headers: response.headers,
    bytes: Buffer.from(await response.arrayBuffer()),
  }
}

const policyOf = async (origin: string) => {
  const keys = await proven.root.get<{ vkey: string }[]>('/.well-known/agentguard-keys.json')
  const key = parseVerifierKey(sha256, keys.body[0]?.vkey ?? '')
  if (!key.ok) throw new Error(key.errors.detail)
  return { origin, log_keys: [key.value] }
}

describe('the published log', () => {
  it('covers a decision by a signed checkpoint within two seconds', async () => {
    await proven.decide(1)
    await proven.signed()
    const delays: number[] = []
    for (let i = 0; i < 5; i++) {
      const before = await readCheckpoint(proven.root)
      const begin = performance.now()
      await proven.decide(1)
      await until(async () => ((await readCheckpoint(proven.root))?.size ?? 0) > (before?.size ?? 0) || null)
      delays.push(performance.now() - begin)
    }
    // Each begins right after a checkpoint, so the quickest waited for a whole round of the signer: that is what the
    // service takes. What other programs add to the slower ones is not its doing.
    expect(Math.min(...delays)).toBeLessThan(2_000)
  })

  it('proves every entry, and no entry of one byte more', async () => {
    const ids = await proven.decide(40)
    const { origin } = await proven.signed()
    const policy = await policyOf(origin)
    for (const id of ids) {
      const text = await raw(`/logs/${id}/proof`)
      expect([text.status, text.headers.get('content-type')]).toEqual([200, 'text/plain; charset=utf-8'])
      const json = await proven.root.get<{ index: number; entry: string; proof: string }>(
        `/logs/${id}/proof`,
        {
          Accept: 'application/json',
        },
      )
      const entry = Buffer.from(json.body.entry, 'base64')
      expect(JSON.parse(entry.toString())).toMatchObject({ id, log: origin })
      const { index } = json.body
      expect(
        verifyProof(sha256, verifyEd25519, text.bytes.toString(), { entry, policy, index }),
      ).toMatchObject({ ok: true })
      const changed = Buffer.concat([entry, Buffer.from(' ')])
      expect(verifyProof(sha256, verifyEd25519, json.body.proof, { entry: changed, policy })).toMatchObject({
        ok: false,
      })
    }
  })

  it('gives tiles and entries from which the root is computed', async () => {
    await proven.decide(300)
    const { size, root } = await proven.signed()
    const width = size % 256
    const full = await raw(`/ledger/${tilePath({ level: 0, index: 0, width: 256 })}`)
    expect(full.headers.get('cache-control')).toBe('private, max-age=31536000, immutable')
    const rest = await raw(`/v1/ledger/${tilePath({ level: 0, index: 1, width })}`)
    expect([full.bytes.length, rest.bytes.length]).toEqual([8192, width * 32])
    const hashes = Buffer.concat([full.bytes, rest.bytes])
    const leaves = Array.from({ length: size }, (_, i) => hashes.subarray(i * 32, i * 32 + 32))
    expect(Buffer.from(rootOf(sha256, leaves))).toEqual(Buffer.from(root))
    const top = await raw(`/ledger/${tilePath({ level: 1, index: 0, width: 1 })}`)
    expect(top.bytes).toEqual(Buffer.from(rootOf(sha256, leaves.slice(0, 256))))

    const bundles = [
      await raw(`/ledger/${entriesPath(0, 256)}`),
      await raw(`/ledger/${entriesPath(1, width)}`),
    ]
    const entries = bundles.flatMap(({ bytes }, i) => {
      const decoded = decodeEntries(bytes, i === 0 ? 256 : width)
      if (!decoded.ok) throw new Error(decoded.errors)
      return decoded.value
    })
    expect(entries.map((entry) => Buffer.from(leafHash(sha256, entry)))).toEqual(leaves)
  })

  it('answers 404 for what the checkpoint does not cover, and for paths that name no tile', async () => {
    const { size } = await proven.signed()
    for (const path of [
      tilePath({ level: 0, index: Math.floor(size / 256), width: (size % 256) + 1 }),
      tilePath({ level: 0, index: Math.floor(size / 256), width: 256 }),
      tilePath({ level: 2, index: 0, width: 1 }),
      entriesPath(1000, 256),
      'tile/0/0',
      'tile/0/x000/000',
      'tile/0/000.p/256',
      'tile/64/000',
      'tile/0/000/',
    ]) {
      expect([path, (await raw(`/ledger/${path}`)).status]).toEqual([path, 404])
    }
  })

  it('shows that each checkpoint continues the ones before', async () => {
    const notes = []
    for (let i = 0; i < 4; i++) {
      await proven.decide(7 * i + 1)
      notes.push(await proven.signed())
    }
    for (const [i, older] of notes.entries()) {
      for (const newer of notes.slice(i)) {
        const { body } = await proven.root.get<{ hashes: string[]; checkpoint: string }>(
          `/ledger/consistency?from=${older.size}&to=${newer.size}`,
        )
        const hashes = body.hashes.map((hash) => Buffer.from(hash, 'base64'))
        expect(verifyConsistency(sha256, older.size, newer.size, hashes, older.root, newer.root)).toBe(true)
        if (older.size < newer.size) {
          expect(verifyConsistency(sha256, older.size, newer.size, hashes, newer.root, newer.root)).toBe(
            false,
          )
        }
      }
    }
    const beyond = await proven.root.get(`/ledger/consistency?from=1&to=${(notes[3]?.size ?? 0) + 1}`)
    const backwards = await proven.root.get('/ledger/consistency?from=5&to=4')
    expect([beyond.status, backwards.status]).toEqual([422, 422])
    expect((await proven.root.get('/ledger/consistency')).status).toBe(422)
  })
})

describe('who may read what', () => {
  it('proves to an agent its own entries; another one’s is as if it did not exist', async () => {
    const [own = ''] = await proven.decide(1)
    const other = await makeAgent(proven.root, 'other')
    const asked = await other.agent.post<{ decision_id: string }>('/enforce', { action: 'read' })
    await proven.signed()
    expect((await proven.agent.get(`/logs/${own}/proof`)).status).toBe(200)
    const foreign = await proven.agent.get(`/logs/${asked.body.decision_id}/proof`)
    const missing = await proven.agent.get('/logs/01980000-0000-7000-8000-000000000000/proof')
    expect([foreign.status, foreign.body.code]).toEqual([404, 'log_not_found'])
    expect(withoutNames(foreign, asked.body.decision_id)).toEqual(
      withoutNames(missing, '01980000-0000-7000-8000-000000000000'),
    )
    expect((await proven.agent.get('/logs/nonsense/proof')).status).toBe(404)
  })

  it('shows entries to administrators only, and nothing to who presents nothing', async () => {
    expect((await proven.agent.get(`/ledger/${entriesPath(0, 1)}`)).status).toBe(403)
    expect((await raw(`/ledger/${tilePath({ level: 0, index: 0, width: 1 })}`, proven.agent)).status).toBe(
      200,
    )
    const nobody = new Client(proven.app.url)
    for (const path of [
      '/ledger/checkpoint',
      '/ledger/tile/0/000',
      '/ledger/tile/entries/000',
      '/ledger/consistency?from=1',
    ]) {
      expect([path, (await nobody.get(path)).status]).toEqual([path, 401])
    }
    expect((await nobody.get('/.well-known/agentguard-keys.json')).status).toBe(200)
  })

  it('publishes its keys under any name that is asked for, without saying whether such a log exists', async () => {
    const nobody = new Client(proven.app.url)
    const { origin } = await proven.signed()
    for (const name of [origin, 'example.com/nothing/e1']) {
      const { body } = await nobody.get<{ name: string; vkey: string; valid_to: null }[]>(
        `/.well-known/agentguard-keys.json?name=${encodeURIComponent(name)}`,
      )
      expect(body).toMatchObject([{ name, valid_to: null }])
      expect(parseVerifierKey(sha256, body[0]?.vkey ?? '')).toMatchObject({ ok: true, value: { name } })
    }
    expect((await nobody.get('/.well-known/agentguard-keys.json?name=a%20b')).status).toBe(422)
  })

  it('says that an entry is not covered yet, not that it is not there', async () => {
    const unsigned = await startProvenApp({ ledger_signer_dir: undefined })
    try {
      const [id = ''] = await unsigned.decide(1)
      const answer = await unsigned.root.get(`/logs/${id}/proof`)
      expect([answer.status, answer.body.code, answer.headers.get('retry-after')]).toEqual([
        503,
        'not_ready',
        '1',
      ])
      expect((await unsigned.root.get('/ledger/checkpoint')).status).toBe(404)
      expect((await unsigned.root.get('/.well-known/agentguard-keys.json')).text).toBe('[]')
      const { body } = await unsigned.root.get('/logs/verify')
      expect(body).toMatchObject({ valid: true, checkpoint: null, broken_at: null, reason: null })
    } finally {
      await unsigned.close()
    }
  })

  it('publishes checkpoints and hashes, never entries, where the operator says so', async () => {
    const open = await startProvenApp({ ledger_public_proofs: true })
    try {
      await open.decide(3)
      await open.signed()
      const nobody = new Client(open.app.url)
      expect((await readCheckpoint(nobody))?.size).toBeGreaterThan(3)
      const tile = await raw('/ledger/tile/0/000.p/3', nobody)
      expect([tile.status, tile.headers.get('cache-control')]).toEqual([
        200,
        'public, max-age=31536000, immutable',
      ])
      expect((await nobody.get('/ledger/consistency?from=1')).status).toBe(200)
      expect((await nobody.get('/ledger/tile/entries/000.p/3')).status).toBe(401)
      expect((await nobody.get('/logs/verify')).status).toBe(401)
      expect((await nobody.get('/ledger/checkpoint', { 'X-Agent-Key': 'wrong' })).status).toBe(401)
      expect((await nobody.get('/ledger/checkpoint', { 'X-Org-ID': 'org_0000000000000000' })).status).toBe(
        404,
      )
    } finally {
      await open.close()
    }
  })
})

describe('GET /logs/verify', () => {
  it('verifies the whole log for an administrator, and an agent its own entries', async () => {
    const { size, root } = await proven.signed()
    const checkpoint = { size, root: Buffer.from(root).toString('base64') }
    const whole = await proven.root.get('/logs/verify')
    expect(whole.body).toEqual({
      agent_id: null,
      valid: true,
      total_entries: size,
      broken_at: null,
      checkpoint,
      reason: null,
    })
    const { rows } = await proven.owner.query(
      'SELECT count(*)::integer AS own FROM ledger.ledger_entry WHERE agent_id = $1',
      [proven.agent_id],
    )
    const own = { agent_id: proven.agent_id, valid: true, total_entries: rows[0].own }
    expect((await proven.agent.get('/logs/verify')).body).toMatchObject(own)
    expect((await proven.root.get(`/logs/verify?agent_id=${proven.agent_id}`)).body).toMatchObject(own)
    // An agent cannot ask about another one.
    expect((await proven.agent.get('/logs/verify?agent_id=agt_0000000000000000')).body).toMatchObject(own)
    expect((await proven.root.get('/logs/verify?agent_id=agt_0000000000000000')).body).toMatchObject({
      valid: true,
      total_entries: 0,
      broken_at: null,
    })
  })
})
