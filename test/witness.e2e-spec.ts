import { spawnSync } from 'node:child_process'
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { verifyCheckpoint } from '../src/core/ledger/checkpoint.js'
import { consistencyProof, leafHash, rangeNodes, rootOf } from '../src/core/ledger/merkle.js'
import { parseVerifierKey, type VerifierKey } from '../src/core/ledger/note.js'
import { formatAddCheckpoint } from '../src/core/ledger/witness.js'
import { SignWorker } from '../src/ledger/sign.worker.js'
import { SignerMemory } from '../src/ledger/signer-memory.js'
import { installationOf, vkeyOf } from '../src/ledger/signing.js'
import { Witnesses } from '../src/ledger/witnesses.js'
import type { Settings } from '../src/platform/config/settings.js'
import { Database } from '../src/platform/database/database.service.js'
import { Shutdown } from '../src/platform/http/shutdown.js'
import { makeLog, type MadeLog, TOOLS } from './support/bundle.js'
import { copyOf, createTestDatabase, type TestDatabase } from './support/postgres.js'
import { openNote, type ProvenApp, startProvenApp, until, withReceipt } from './support/proofs.js'
import { buildSdk, CLI } from './support/sdk.js'
import { startWitness, type WitnessProcess } from './support/witness.js'

const folders: string[] = []
const folder = (): string => {
  const made = mkdtempSync(path.join(tmpdir(), 'agentguard-witness-'))
  folders.push(made)
  return made
}
const running: WitnessProcess[] = []
const start = async (...args: Parameters<typeof startWitness>): Promise<WitnessProcess> => {
  const witness = await startWitness(...args)
  running.push(witness)
  return witness
}

beforeAll(() => buildSdk())
afterAll(async () => {
  const alive = running.filter(({ child }) => child.exitCode === null && child.signalCode === null)
  await Promise.all(alive.map((witness) => witness.end('SIGKILL')))
  for (const dir of folders) rmSync(dir, { recursive: true, force: true })
})

const keyOf = (vkey: string): VerifierKey => {
  const key = parseVerifierKey(TOOLS.sha256, vkey)
  if (!key.ok) throw new Error(key.errors.detail)
  return key.value
}

describe('agentguard witness', () => {
  const log = makeLog(120)
  const leaves = log.entries.map(({ text }) => leafHash(TOOLS.sha256, Buffer.from(text)))
  const node = (level: number, index: number) =>
    rootOf(TOOLS.sha256, leaves.slice(index * 2 ** level, (index + 1) * 2 ** level))
  const request = (old_size: number, size: number, of: MadeLog = log): string =>
    formatAddCheckpoint({
      old_size,
      proof: old_size > size ? [] : consistencyProof(TOOLS.sha256, old_size, size, node),
      checkpoint: of.checkpoint(size),
    })
  /** Who cosigned this checkpoint, when the witness's line is put below it. */
  const cosigned = (size: number, line: string, vkey: string) =>
    verifyCheckpoint(
      log.checkpoint(size) + line,
      { origin: log.origin, log_keys: [keyOf(log.vkey)], witness_keys: [keyOf(vkey)], witnesses_needed: 1 },
      TOOLS.verify,
    )

  it('cosigns a log that grows, with the present time, and nothing else', async () => {
    const witness = await start(folder(), [log.vkey])
    const first = await witness.add(request(0, 10))
    expect([first.status, first.text]).toEqual([
      200,
      expect.stringMatching(/^— agentguard-witness\/[0-9a-f]{16} \S+\n$/),
    ])
    const verified = cosigned(10, first.text, witness.vkey)
    const time = verified.ok ? (verified.value.signers.find(({ timestamp }) => timestamp)?.timestamp ?? 0) : 0
    expect(Math.abs(time - Date.now() / 1000)).toBeLessThan(60)
    expect(cosigned(11, first.text, witness.vkey).ok).toBe(false)

    // From another size than it has, it says which it has; the same request again is one of these.
    for (const again of [request(0, 10), request(0, 20), request(9, 20)])
      expect(await witness.add(again)).toEqual({ status: 409, type: 'text/x.tlog.size', text: '10\n' })
    expect((await witness.add(request(10, 10))).status).toBe(200)
    expect((await witness.add(request(10, 64))).status).toBe(200)
    expect((await witness.add(request(64, 100))).status).toBe(200)
    // Rolled back.
    expect((await witness.add(request(10, 64))).text).toBe('100\n')
    expect((await witness.add(request(100, 64))).status).toBe(400)
    expect((await witness.add(request(64, 64))).text).toBe('100\n')
  })

  it('answers what the specification says to every other request', async () => {
    const witness = await start(folder(), [log.vkey])
    expect((await witness.add(request(0, 50))).status).toBe(200)
    const good = request(50, 100)
    const proof = good.split('\n')[1] ?? ''
    const other = makeLog(3)
    const wrong: readonly [number, string][] = [
      [400, ''],
      [400, 'nonsense'],
      [400, good.replace('old 50', 'old 050')],
      [400, good.replace('old 50', 'new 50')],
      [400, good.replace(proof, `${proof}A`)],
      [400, good.replace(proof, Array<string>(64).fill(proof).join('\n'))],
      [400, good.slice(0, good.indexOf('\n\n'))],
      [400, good.slice(0, good.lastIndexOf('—'))],
      [404, good.replaceAll(log.origin, 'elsewhere.example/log')],
      [403, good.replace(`${log.origin}\n100`, `${log.origin}\n101`)],
      [403, request(0, 3, other)], // the same name, another key
      [422, good.replace(`${proof}\n`, '')],
      [422, good.replace(proof, 'A'.repeat(43) + '=')],
    ]
    for (const [status, body] of wrong)
      expect([body, (await witness.add(body)).status]).toEqual([body, status])
    expect((await witness.add('x'.repeat(70_000))).status).toBe(413)
    expect((await fetch(`${witness.url}/add-checkpoint`)).status).toBe(405)
    expect((await fetch(witness.url)).status).toBe(404)
    expect((await witness.add(good)).status).toBe(200) // none of it has moved anything
  })

  it('witnesses only the logs that it is told, when it is told', async () => {
    const witness = await start(folder(), [log.vkey], ['--origin', `${log.origin}0`, '--name', 'w.example/1'])
    expect((await witness.add(request(0, 10))).status).toBe(404)
    expect(witness.vkey).toMatch(/^w\.example\/1\+/)
    expect(await witness.end()).toBe(0)
  })

  it('refuses another history with the same key, and keeps it as evidence', async () => {
    const dir = folder()
    const witness = await start(dir, [log.vkey])
    expect((await witness.add(request(0, 60))).status).toBe(200)
    const forked = log.forked(59)
    expect(await witness.add(formatAddCheckpoint({ old_size: 60, proof: [], checkpoint: forked }))).toEqual({
      status: 409,
      type: 'text/x.tlog.size',
      text: '60\n',
    })
    const [kept = ''] = readdirSync(path.join(dir, 'forks'))
    expect(readFileSync(path.join(dir, 'forks', kept), 'utf8')).toBe(forked)
    expect(witness.errors()).toContain('fork')

    // The control: a witness that has forgotten cosigns it.
    const forgetful = await start(folder(), [log.vkey])
    const taken = await forgetful.add(formatAddCheckpoint({ old_size: 0, proof: [], checkpoint: forked }))
    expect(taken.status).toBe(200)
  })

  it('remembers across a kill, lets no second process in, and does not start on a damaged memory', async () => {
    const dir = folder()
    const first = await start(dir, [log.vkey])
    expect((await first.add(request(0, 70))).status).toBe(200)
    await expect(startWitness(dir, [log.vkey])).rejects.toThrow(`Process ${first.child.pid} uses this folder`)
    await first.end('SIGKILL')
    const again = await start(dir, [log.vkey])
    expect(again.vkey).toBe(first.vkey)
    expect((await again.add(request(0, 20))).text).toBe('70\n')
    expect((await again.add(request(70, 80))).status).toBe(200)
    await again.end()
    const [name = ''] = readdirSync(path.join(dir, 'logs'))
    const file = path.join(dir, 'logs', name)
    const whole = readFileSync(file, 'utf8')
    for (const damaged of [
      '',
      whole.slice(0, 40),
      whole.replace('80', '"80"'),
      whole.replace(log.org_id, 'org_b'),
    ]) {
      writeFileSync(file, damaged)
      await expect(startWitness(dir, [log.vkey])).rejects.toThrow('is damaged')
    }
    writeFileSync(file, whole)
    expect((await (await start(dir, [log.vkey])).add(request(0, 20))).text).toBe('80\n')
  })

  it('moves only forward under requests at the same time', async () => {
    const witness = await start(folder(), [log.vkey])
    const granted: number[] = []
    const push = async (size: number) => {
      for (let old = 0; old <= size;) {
        const { status, text } = await witness.add(request(old, size))
        if (status === 200) granted.push(size)
        if (status !== 409) return status
        old = Number(text)
      }
      return 409
    }
    const sizes = Array.from({ length: 40 }, (_, i) => 20 + ((i * 37) % 100))
    expect(new Set(await Promise.all(sizes.map(push)))).toEqual(new Set([200, 409]))
    expect((await witness.add(request(0, 1))).text).toBe(`${Math.max(...granted)}\n`)
    expect(rangeNodes(0, Math.max(...granted)).length).toBeGreaterThan(0)
  })
})

describe('a publisher with witnesses', () => {
  let database: TestDatabase
  let signer_dir: string
  let witnesses: WitnessProcess[]
  let slow: Server
  const connections = new Set<Socket>()
  let asked = 0
  let settings: Partial<Settings>
  let log_key: string

  beforeAll(async () => {
    database = await createTestDatabase()
    signer_dir = folder()
    // The first start makes the organization, and with it the log's name.
    const first = await startProvenApp({ ledger_signer_dir: undefined }, database)
    const { rows } = await first.owner.query<{ origin: string }>('SELECT origin FROM ledger.ledger_head')
    await first.close()
    log_key = vkeyOf(installationOf(rows[0]?.origin ?? ''), SignerMemory.open(signer_dir).public_key)
    witnesses = [await start(folder(), [log_key]), await start(folder(), [log_key])]
    const [dead, silent] = [await start(folder(), [log_key]), await start(folder(), [log_key])]
    await dead.end()
    await silent.end()
    slow = createServer((socket) => {
      asked++
      connections.add(socket.on('error', () => undefined))
    })
    await new Promise<void>((resolve) => slow.listen(0, '127.0.0.1', resolve))
    const slow_url = `http://127.0.0.1:${(slow.address() as AddressInfo).port}`
    settings = {
      ledger_signer_dir: signer_dir,
      ledger_witness_quorum: 2,
      ledger_witness_timeout_ms: 1_000,
      ledger_witnesses: [
        { url: dead.url, vkey: dead.vkey },
        { url: slow_url, vkey: silent.vkey },
        ...witnesses.map(({ url, vkey }) => ({ url, vkey })),
      ],
    }
  })

  afterAll(async () => {
    for (const socket of connections) socket.destroy()
    slow?.close()
    await database?.drop()
  })

  const policyOf = (origin: string, witnesses_needed: number) => ({
    origin,
    log_keys: [keyOf(log_key)],
    witness_keys: witnesses.map(({ vkey }) => keyOf(vkey)),
    witnesses_needed,
  })

  /** A signer of its own over a database that nobody else signs. */
  const signerOf = (proven: ProvenApp, over: Partial<Settings>) => {
    const own = { ...proven.app.settings, ...settings, ...over }
    const database = proven.app.app.get(Database)
    return new SignWorker(database, own, new Shutdown(), new Witnesses(database, own))
  }

  it('publishes with the cosignatures of those that answer, though one is down and one is silent', async () => {
    const proven = await startProvenApp(settings, database)
    try {
      await proven.decide(300)
      const note = await proven.signed()
      const verified = verifyCheckpoint(note.note, policyOf(note.origin, 2), TOOLS.verify)
      expect(verified).toMatchObject({ ok: true })
      expect(asked).toBeGreaterThan(0)

      // It grows, and goes on being cosigned; a bundle and a receipt carry the cosignatures.
      await proven.decide(20)
      await proven.signed()
      const dir = folder()
      const files = {
        key: log_key,
        w: witnesses.map(({ vkey }) => vkey).join('\n'),
        alien: settings.ledger_witnesses?.[1]?.vkey ?? '',
      }
      for (const [name, text] of Object.entries(files)) writeFileSync(path.join(dir, name), `${text}\n`)
      writeFileSync(path.join(dir, 'log.ndjson'), (await proven.root.get('/logs/export')).text)
      const answer = await withReceipt(() =>
        proven.agent.post('/enforce', { action: 'read' }, { Prefer: 'receipt' }),
      )
      writeFileSync(path.join(dir, 'answer.json'), answer.text)
      const verify = (...args: string[]) =>
        spawnSync(process.execPath, [CLI, 'verify', ...args, '--key', 'key'], { cwd: dir, encoding: 'utf8' })
      for (const what of [['log.ndjson'], ['--receipt', 'answer.json']]) {
        const good = verify(...what, '--witness', 'w', '--quorum', '2')
        expect([good.status, good.stdout]).toEqual([0, expect.stringContaining('agentguard-witness/')])
        expect(verify(...what, '--witness', 'w').status).toBe(0)
        const short = verify(...what, '--witness', 'w', '--witness', 'alien', '--quorum', '3')
        expect([short.status, short.stdout]).toEqual([21, expect.stringContaining('2 of 3 witnesses')])
        expect(verify(...what, '--witness', 'alien').status).toBe(21)
        expect(verify(...what, '--witness', 'w', '--quorum', '3').status).toBe(2)
      }
      expect((await proven.root.get('/logs/verify')).body).toMatchObject({ valid: true })
    } finally {
      await proven.close()
    }
  })

  it('cannot publish a second history under the same key, nor a rolled-back one', async () => {
    const forked = await copyOf(database)
    const forked_dir = folder()
    cpSync(signer_dir, forked_dir, { recursive: true })
    const honest = await startProvenApp(settings, database)
    const seen = await honest
      .decide(30)
      .then(() => honest.signed())
      .finally(() => honest.close())
    // The same key, the same memory as it was, another continuation: first shorter than what was seen, then longer.
    const proven = await startProvenApp({ ledger_signer_dir: undefined }, forked)
    try {
      const quorum = signerOf(proven, { ledger_signer_dir: forked_dir })
      for (const count of [5, 60]) {
        await proven.decide(count)
        await integrated(proven)
        expect(await quorum.round()).toBe(0)
      }
      await quorum.stop()
      const published = async () => openNote((await proven.root.get('/ledger/checkpoint')).text, log_key)
      expect((await published()).size).toBeLessThan(seen.size)
      // The control: where no quorum is wanted it is published, and has no cosignature.
      const careless = signerOf(proven, { ledger_signer_dir: forked_dir, ledger_witness_quorum: 0 })
      expect(await careless.round()).toBe(1)
      await careless.stop()
      const alone = await published()
      expect(alone.size).toBeGreaterThan(seen.size)
      expect(verifyCheckpoint(alone.note, policyOf(alone.origin, 0), TOOLS.verify).ok).toBe(true)
      expect(verifyCheckpoint(alone.note, policyOf(alone.origin, 1), TOOLS.verify)).toMatchObject({
        ok: false,
        errors: { code: 'too_few_witnesses' },
      })
    } finally {
      await proven.close()
      await forked.drop()
    }
  })
})

const integrated = (proven: ProvenApp) =>
  until(async () => {
    const { rows } = await proven.owner.query<{ behind: boolean }>(
      'SELECT bool_or(h.size > coalesce(t.size, 0)) AS behind FROM ledger.ledger_head h LEFT JOIN ledger.ledger_tree t USING (org_id, epoch)',
    )
    return rows[0]?.behind === false ? true : null
  })
