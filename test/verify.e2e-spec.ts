import { spawn, spawnSync } from 'node:child_process'
import { generateKeyPairSync, sign } from 'node:crypto'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { FINDING_KINDS } from '../src/core/ledger/findings.js'
import {
  cosignatureMessage,
  encodeCosignature,
  formatNote,
  formatVerifierKey,
  makeVerifierKey,
} from '../src/core/ledger/note.js'
import type { Verdict } from '../src/core/ledger/verify.js'
import { makeLog, MadeLog, TOOLS } from './support/bundle.js'
import { buildSdk, CLI } from './support/sdk.js'
import { type ProvenApp, startProvenApp } from './support/proofs.js'

const root = path.join(__dirname, '..')
const ENTRIES = 10_000

const log = makeLog(ENTRIES)
/** A decision far in, and an entry with a payload. */
const DECISION = log.entries.findIndex(({ entry }, i) => i >= 9000 && entry.type === 'decision')
const PAYLOAD = log.entries.findIndex(({ payload }, i) => i >= 200 && payload !== null)
let folder: string
let lines: string[]

interface Ran {
  readonly code: number | null
  readonly out: string
  readonly err: string
}

/** Runs a program without blocking this process, which may be the server it talks to. */
function run(
  command: string,
  args: readonly string[],
  options: { input?: string; cwd?: string } = {},
): Promise<Ran> {
  return new Promise((resolve, reject) => {
    const env = { ...process.env, NODE_OPTIONS: '' }
    const child = spawn(command, args, { cwd: options.cwd ?? folder, env })
    let [out, err] = ['', '']
    child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()))
    child.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()))
    child.on('error', reject)
    child.on('close', (code) => resolve({ code, out, err }))
    child.stdin.end(options.input ?? '')
  })
}

const agentguard = (args: readonly string[], input?: string) =>
  run(process.execPath, [CLI, ...args], input === undefined ? {} : { input })

const file = (name: string, content: Iterable<string>): string => {
  const at = path.join(folder, name)
  writeFileSync(at, [...content, ''].join('\n'))
  return at
}

const at = (index: number) => lines.findIndex((line) => line.startsWith(`{"kind":"entry","index":${index},`))
const changed = (index: number, from: string | RegExp, to: string) =>
  lines.with(at(index), (lines[at(index)] ?? '').replace(from, to))

beforeAll(() => {
  buildSdk()
  folder = mkdtempSync(path.join(tmpdir(), 'agentguard-verify-'))
  lines = [...log.lines()]
  file('log.ndjson', lines)
  file('key.txt', [log.vkey])
  writeFileSync(path.join(folder, 'old.txt'), log.checkpoint(4321))
})

afterAll(() => rmSync(folder, { recursive: true, force: true }))

describe('agentguard verify', () => {
  it('says VALID in words and in JSON, with an older checkpoint, and ends with 0', async () => {
    const words = await agentguard(['verify', 'log.ndjson', '--key', 'key.txt', '--checkpoint', 'old.txt'])
    expect(words).toMatchObject({ code: 0, err: '' })
    expect(words.out).toMatch(/^Result {3}VALID$/m)
    expect(words.out).toMatch(/begins with the 4,321 entries/)
    const { code, out } = await agentguard(['verify', 'log.ndjson', '--key', log.vkey, '--json'])
    const verdict = JSON.parse(out) as Verdict & { exit_code: number }
    expect([code, verdict.valid, verdict.exit_code, verdict.entries]).toEqual([0, true, 0, ENTRIES])
    expect(verdict.root).toBe(Buffer.from(log.root()).toString('base64'))
  })

  it('reads standard input', async () => {
    expect(
      await agentguard(['verify', '-'], readFileSync(path.join(folder, 'log.ndjson'), 'utf8')),
    ).toMatchObject({ code: 0 })
  })

  it.each<[keyof typeof FINDING_KINDS, string, () => string[]]>([
    ['malformed', 'entry 77', () => changed(77, '"kind"', '"kinds"')],
    ['truncated', 'entry 5000', () => lines.slice(0, at(5000))],
    ['index', 'entry 4999', () => lines.toSpliced(at(4999), 1)],
    [
      'entry_changed',
      `entry ${DECISION},`,
      () => changed(DECISION, '\\"reason\\":\\"', '\\"reason\\":\\"So: '),
    ],
    ['projection', 'entry 123', () => changed(123, /"action_key":[^,]*/, '"action_key":"other"')],
    ['payload', `entry ${PAYLOAD},`, () => changed(PAYLOAD, /"salt":"..../, '"salt":"AAAA')],
    [
      'policy',
      'entry 2,',
      () => lines.map((line) => line.replace('"document":"{\\"allow\\":[', '"document":"{\\"allow\\":[ ')),
    ],
  ])('ends with the code of %s and names %s', async (kind, where, change) => {
    const name = `${kind}.ndjson`
    const content = change()
    expect(content.join() === lines.join()).toBe(false)
    file(name, content)
    const { code, out } = await agentguard(['verify', name, '--key', 'key.txt'])
    expect([code, out.includes(where)]).toEqual([FINDING_KINDS[kind].exit, true])
    expect(out).toMatch(new RegExp(`FOUND {4}${kind} `))
  })

  it('finds bytes that are not UTF-8 at their line', async () => {
    const bytes = readFileSync(path.join(folder, 'log.ndjson'))
    const position = bytes.indexOf('"index":77,') + 200
    bytes[position] = 0xff
    writeFileSync(path.join(folder, 'bytes.ndjson'), bytes)
    const { code, out } = await agentguard(['verify', 'bytes.ndjson'])
    expect([code, out.includes('entry 77,')]).toEqual([FINDING_KINDS.malformed.exit, true])
  })

  it('ends with 2 for mistakes in the call, and says which', async () => {
    for (const [args, says] of [
      [['verify'], 'agentguard verify'],
      [['verify', 'missing.ndjson'], 'missing.ndjson'],
      [['verify', 'log.ndjson', '--key', 'a+b+c'], '--key'],
      [['verify', 'log.ndjson', '--checkpoint', 'missing.txt'], 'missing.txt'],
      [['verify', 'log.ndjson', '--unknown'], '--unknown'],
      [['verify', '--receipt', 'old.txt'], '--key'],
      [['replay', '--receipt', 'old.txt'], '--receipt'],
    ] as const) {
      const { code, out, err } = await agentguard(args)
      expect([code, out, err.includes(says)]).toEqual([2, '', true])
    }
    // 2 of other commands means denied.
    expect((await agentguard(['nonsense'])).code).toBe(1)
    const help = await agentguard(['help', 'verify'])
    expect(help.code).toBe(0)
    for (const [kind, { exit }] of Object.entries(FINDING_KINDS))
      expect(help.out).toContain(`${exit}  ${kind}`)
  })
})

describe('agentguard replay', () => {
  it('makes every decision again, or one of them', async () => {
    const { code, out } = await agentguard(['replay', 'log.ndjson', '--key', 'key.txt', '--json'])
    const { replay, verdict } = JSON.parse(out) as { replay: Record<string, number>; verdict: Verdict }
    const { allow, deny, pending } = verdict.decisions
    expect([code, replay]).toMatchObject([
      0,
      { same: allow + deny + pending, differs: 0, redacted: 0, not_replayable: 0 },
    ])
    const id = log.entries.find(({ entry }) => entry.type === 'decision')?.entry.id ?? ''
    const one = await agentguard(['replay', 'log.ndjson', '--log-id', id])
    expect([one.code, one.out.includes('1 the same')]).toEqual([0, true])
    expect((await agentguard(['replay', 'log.ndjson', '--log-id', 'nobody'])).code).toBe(2)
  })

  it('finds a decision that was recorded otherwise than the policy says, though every hash fits', async () => {
    const lying = new MadeLog()
    lying.policy('agt_a', { allow: [], deny: [], require_approval: [] })
    const decision = {
      effect: 'allow',
      code: 'allow_rule',
      reason: 'Matched allow rule: read on *',
      findings: [],
    }
    const index = lying.decide('agt_a', { action: 'read' }, { entry: { decision } })
    file('lying.ndjson', lying.lines())
    expect(await agentguard(['verify', 'lying.ndjson', '--key', lying.vkey])).toMatchObject({ code: 0 })
    const { code, out } = await agentguard(['replay', 'lying.ndjson', '--key', lying.vkey])
    expect(code).toBe(FINDING_KINDS.replay_differs.exit)
    expect(out).toContain(`DIFFERS  entry ${index} `)
    expect(out).toContain(
      'recorded allow (Matched allow rule: read on *), replayed deny (No matching allow rule',
    )
  })

  it('tells what was erased from what another engine decided', async () => {
    const made = new MadeLog()
    made.policy('agt_a', { allow: [{ action: 'read' }], deny: [], require_approval: [] })
    const erased = made.decide('agt_a', { action: 'read', arguments: { secret: 1 } })
    made.decide('agt_a', { action: 'read' })
    file('erased.ndjson', made.lines({ redacted: new Set([erased]) }))
    const lawful = await agentguard(['replay', 'erased.ndjson'])
    expect([lawful.code, lawful.out.includes('1 not replayable because erased')]).toEqual([0, true])
    made.decide('agt_a', { action: 'read' }, { entry: { engine: { semantics: 2, stages: { rules: 1 } } } })
    file('engine.ndjson', made.lines())
    const other = await agentguard(['replay', 'engine.ndjson'])
    expect([other.code, other.out.includes('decided with semantics 2')]).toEqual([
      FINDING_KINDS.not_replayable.exit,
      true,
    ])
  })
})

const python = spawnSync('python3', ['--version']).status === 0
const openssl = spawnSync('openssl', ['version']).status === 0
if (!python || !openssl)
  process.stdout.write('\n!!! python3 or openssl is missing: the second verifier is NOT tested here\n\n')

;(python && openssl ? describe : describe.skip)('tools/verify.py, which shares no code with us', () => {
  const second = async (name: string, ...args: string[]) => {
    const { code, out } = await run('python3', [path.join(root, 'tools/verify.py'), name, '--json', ...args])
    return { code, verdict: JSON.parse(out) as Verdict & { signed: { size: number } | null } }
  }
  const ours = async (name: string, ...args: string[]) => {
    const { code, out, err } = await agentguard(['verify', name, '--json', ...args])
    if (out === '') throw new Error(`no verdict (${code}): ${err}`)
    return JSON.parse(out) as Verdict
  }

  it(`agrees on root, signature and counts over ${ENTRIES} entries`, async () => {
    const mine = await ours('log.ndjson', '--key', 'key.txt')
    const { code, verdict } = await second('log.ndjson', '--key', 'key.txt')
    expect([code, verdict.findings]).toEqual([0, []])
    const common = ({ valid, origin, entries, decisions, policies, redacted, root }: Verdict) => ({
      valid,
      origin,
      entries,
      decisions,
      policies,
      redacted,
      root,
    })
    expect(common(verdict)).toEqual(common(mine))
    expect(verdict.signed?.size).toBe(mine.checkpoint?.size)
  })

  it('agrees on what is wrong, and where', async () => {
    const damaged: Record<string, () => string[]> = {
      reason: () => changed(DECISION, '\\"reason\\":\\"', '\\"reason\\":\\"So: '),
      missing: () => lines.toSpliced(at(4999), 1),
      column: () => changed(123, /"action_key":"[^"]*"/, '"action_key":"other"'),
      payload: () => changed(PAYLOAD, /"salt":"..../, '"salt":"AAAA'),
      tail: () => lines.slice(0, at(5000)),
      policy: () =>
        lines.toSpliced(
          lines.findIndex((line) => line.startsWith('{"kind":"policy"')),
          1,
        ),
      spelling: () => changed(300, '\\"v\\":1}', '\\"v\\": 1}'),
    }
    for (const [name, damage] of Object.entries(damaged)) {
      file(`second-${name}.ndjson`, damage())
      const [mine, { code, verdict }] = await Promise.all([
        ours(`second-${name}.ndjson`, '--key', 'key.txt'),
        second(`second-${name}.ndjson`, '--key', 'key.txt'),
      ])
      const firstOf = ({ findings: [first] }: Verdict) => [first?.kind, first?.index]
      expect([name, code, ...firstOf(verdict)]).toEqual([name, 1, ...firstOf(mine)])
    }
    for (const [scope, target] of [
      ['organization', undefined],
      ['installation', undefined],
      ['environment', 'prod'],
      ['team', 'ops'],
      ['agent', 'agt_a'],
      ['key', 'key_agt_a'],
    ] as const) {
      const killed = new MadeLog()
      killed.policy('agt_a', { allow: [{ action: 'read' }] })
      killed.kill('activated', scope, target)
      killed.decide('agt_a', { action: 'write' })
      const index = killed.decide('agt_a', { action: 'read' })
      killed.kill('deactivated', scope, target)
      killed.decide('agt_a', { action: 'read' })
      file('second-killed.ndjson', killed.lines())
      const [mine, { verdict }] = await Promise.all([
        ours('second-killed.ndjson'),
        second('second-killed.ndjson'),
      ])
      for (const { findings } of [mine, verdict])
        expect(findings.map((finding) => [finding.kind, finding.index])).toEqual([['killed', index]])
    }
    const strange = new MadeLog()
    file('other-key.txt', [strange.vkey])
    const { verdict } = await second('log.ndjson', '--key', 'other-key.txt')
    expect(verdict.findings[0]?.kind).toBe('signature')
  })

  /** Kind and index of everything found, by each of the two; alike, or this throws. */
  const bothFind = async (name: string, ...args: string[]) => {
    const listed = ({ findings }: Verdict) => findings.map(({ kind, index }) => `${index} ${kind}`).sort()
    const [mine, { verdict }] = await Promise.all([ours(name, ...args), second(name, ...args)])
    expect([name, listed(verdict)]).toEqual([name, listed(mine)])
    return listed(mine)
  }

  it('agrees on what a kill switch of a pattern of actions stops', async () => {
    const killed = new MadeLog()
    killed.policy('agt_a', { allow: [{ action: '*' }] })
    const stopped: string[] = []
    for (const [pattern, action, covered] of [
      ['send:*', 'send:mail', true],
      ['send:*', 'send', true],
      ['send:*', 'sendMail', true],
      ['send:*', 'resend:mail', false],
      ['delete:file', 'deleteFileNow', true],
      ['delete:file', 'deletefile now', true],
      ['delete:file', 'dElete', true],
      ['delete:file', 'deleted:file', false],
      ['read?file', 'read:file', true],
      ['read[!a-z]file', 'read file', true],
      ['re[a-c]d', 'read', true],
      ['re[x-z]d', 'read', false],
      ['*:file*', 'write:old_files', true],
      ['*:file', 'write:old_profile', false],
    ] as const) {
      killed.kill('activated', 'action', pattern)
      const index = killed.decide('agt_a', { action })
      if (covered) stopped.push(`${index} killed`)
      killed.kill('deactivated', 'action', pattern)
    }
    file('second-patterns.ndjson', killed.lines())
    expect(await bothFind('second-patterns.ndjson')).toEqual(stopped.sort())
  })

  it('says of how many decisions it cannot tell whether they follow from what was sent', async () => {
    const made = new MadeLog()
    const conditions = { request: { '/arguments/status': 'open' } }
    made.policy('agt_a', { allow: [{ action: 'read' }] })
    made.decide('agt_a', { action: 'read' })
    made.policy('agt_a', { allow: [{ action: 'read', conditions }] })
    made.decide('agt_a', { action: 'read', arguments: { status: 'open' } })
    const erased = made.decide('agt_a', { action: 'read', arguments: { status: 'closed' } })
    file('carried.ndjson', made.lines({ redacted: new Set([erased]) }))
    const { verdict } = await second('carried.ndjson')
    expect((verdict as unknown as { rules: unknown }).rules).toEqual({
      checked: false,
      decisions: 3,
      by_request: 2,
    })
    const { out } = await run('python3', [path.join(root, 'tools/verify.py'), 'carried.ndjson'])
    expect(out).toContain('Rules    not checked: whether 3 decisions follow from their policies, 2 of them')
    const replayed = await agentguard(['replay', 'carried.ndjson'])
    expect(replayed.out).toContain(
      '2 the same, 0 different, 0 not replayable, 1 not replayable because erased',
    )
  })

  it('agrees on decisions that an agent made by itself', async () => {
    const iso = (ms: number) => new Date(Date.UTC(2026, 0, 1) + ms).toISOString()
    const made = new MadeLog()
    const at_first = made.policy('agt_a', { allow: [{ action: 'read' }] })
    const { config } = made.entries[at_first]?.entry ?? { config: { installation: 1, organization: 1 } }
    let seq = 0
    const decide = (over: object = {}, outside: object = {}, policies?: []) =>
      made.decide(
        'agt_a',
        { action: 'read' },
        {
          ...(policies && { policies }),
          entry: {
            event: 'decision.local',
            local: {
              spool: 's',
              seq: seq++,
              decided_at: iso(1),
              issued_at: iso(0),
              lease_until: iso(5_000),
              config,
              agrees: true,
              ...over,
            },
            ...outside,
          },
        },
      )
    decide()
    made.kill('activated', 'action', 'read', 'kil_a') // the bundle was given before
    decide()
    file('second-local.ndjson', made.lines())
    expect(await bothFind('second-local.ndjson')).toEqual([])
    const later = { config: { ...config, organization: 99 } }
    const wanted = [
      `${decide({ decided_at: iso(5_001) })} lease`,
      `${decide({ lease_until: iso(60_001) })} lease`,
      `${decide({ seq: 7 })} spool`,
      `${decide({ seq: 8, ...later })} killed`,
      `${decide({ seq: 9, issued_at: iso(20_000), decided_at: iso(20_001), lease_until: iso(21_000) })} killed`,
    ]
    wanted.push(wanted.at(-1)?.replace('killed', 'lease') ?? '') // it was decided after it was recorded
    made.kill('deactivated', 'action', 'read', 'kil_a')
    made.change('key.revoked', { kind: 'key', id: 'key_agt_a', op: 'revoked' }, { agent_id: 'agt_a' })
    const revoked = decide({ seq: 10, config: { ...config, organization: 99 } })
    wanted.push(`${revoked} revoked`)
    made.change('agent.deleted', { kind: 'agent', id: 'agt_a', op: 'deleted' }, { agent_id: 'agt_a' })
    wanted.push(
      `${decide({ seq: 11, ...later }, { actor: { kind: 'agent', id: 'agt_a', key_id: 'key_b' } })} inactive`,
    )
    wanted.push(`${decide({ seq: 12 }, {}, [])} policy_stale`)
    file('second-local-bad.ndjson', made.lines())
    expect(await bothFind('second-local-bad.ndjson')).toEqual(wanted.sort())
  })

  it('agrees on the cosignatures of witnesses', async () => {
    const witnesses = ['one.example', 'two.example'].map((name) => {
      const { privateKey, publicKey } = generateKeyPairSync('ed25519')
      const bytes = Buffer.from(publicKey.export({ format: 'jwk' }).x ?? '', 'base64url')
      return { privateKey, key: makeVerifierKey(TOOLS.sha256, name, 'cosignature', bytes) }
    })
    file(
      'witnesses.txt',
      witnesses.map(({ key }) => formatVerifierKey(key)),
    )
    const small = makeLog(20)
    const note = small.checkpoint()
    const text = note.slice(0, note.indexOf('\n\n') + 1)
    const cosigned = (count: number, said = 1_767_225_600, signed = said): string[] =>
      [...small.lines()].map((line) => {
        if (!line.startsWith('{"kind":"checkpoint"')) return line
        const lines = witnesses.slice(0, count).map(({ privateKey, key }) => {
          const signature = sign(null, cosignatureMessage(text, signed), privateKey)
          const line = { name: key.name, id: key.id, signature: encodeCosignature(said, signature) }
          return formatNote(text, [line]).slice(text.length + 1)
        })
        return JSON.stringify({ kind: 'checkpoint', note: note + lines.join('') })
      })
    const given = ['--witness', 'witnesses.txt', '--quorum', '2']
    for (const [name, bundle, found] of [
      ['both', cosigned(2), []],
      ['one', cosigned(1), ['null signature']],
      ['other-time', cosigned(2, 1_767_225_600, 1_767_225_601), ['null signature']],
    ] as const) {
      file(`second-witness-${name}.ndjson`, bundle)
      expect([name, await bothFind(`second-witness-${name}.ndjson`, ...given)]).toEqual([name, found])
    }
  })

  it('says clearly that nothing was signed', async () => {
    file('unsigned.ndjson', log.lines({ signed: false }))
    const { code, out } = await run('python3', [path.join(root, 'tools/verify.py'), 'unsigned.ndjson'])
    expect([code, out]).toEqual([
      0,
      expect.stringContaining('not checked: the bundle has no checkpoint') as string,
    ])
  })
})

describe('docs/verify.md', () => {
  let proven: ProvenApp
  beforeAll(async () => {
    proven = await startProvenApp()
    await proven.decide(300)
    await proven.signed()
  })
  afterAll(() => proven?.close())

  /** Without start-up files, which bash reads where its standard input looks like a network connection, as here. */
  const BASH = ['--norc', '-euo', 'pipefail', '-c'] as const

  const blocks = () =>
    [...readFileSync(path.join(root, 'docs/verify.md'), 'utf8').matchAll(/^```sh\n([\s\S]*?)^```/gm)].map(
      (match) => match[1] ?? '',
    )

  it('has commands that work on a real log, as a reader would paste them', async () => {
    const house = path.join(folder, 'reader')
    mkdirSync(path.join(house, '.data'), { recursive: true })
    writeFileSync(path.join(house, '.data/admin-key'), `${proven.app.admin_key}\n`)
    for (const name of ['package.json', 'sdk', 'tools'])
      symlinkSync(path.join(root, name), path.join(house, name))
    const host = new URL(proven.app.url).host
    const [here = '', , receipt = '', , byHand = ''] = blocks().map((block) =>
      block.replaceAll('localhost:8000', host),
    )
    const { code, out, err } = await run('bash', [...BASH, here], { cwd: house })
    expect([code, err]).toEqual([0, expect.stringMatching(/^(npm warn .*\n)*log\.ndjson: \d/) as string])
    expect(out.match(/^Result {3}VALID$/gm)).toHaveLength(3)
    expect(out).toMatch(
      /^Replay {3}300 the same, 0 different, 0 not replayable, 0 not replayable because erased$/m,
    )
    expect(out).not.toContain("bundle's own")
    const agent_key = `AGENT_KEY=${proven.agent.headers['X-Agent-Key'] ?? ''}\n`
    const receipts = await run('bash', [...BASH, agent_key + receipt], { cwd: house })
    expect([receipts.code, receipts.out]).toEqual([
      0,
      expect.stringMatching(/^Decision allow read\n[^]*^Result {3}VALID$/m) as string,
    ])
    writeFileSync(
      path.join(folder, 'altered.json'),
      readFileSync(path.join(house, 'answer.json'), 'utf8').replace('"allowed":true', '"allowed":false'),
    )
    const key = path.join(house, 'key.txt')
    const altered = await agentguard(['verify', '--receipt', 'altered.json', '--key', key, '--json'])
    expect([altered.code, JSON.parse(altered.out)]).toMatchObject([
      FINDING_KINDS.answer.exit,
      { valid: false, finding: { kind: 'answer', field: 'allowed' } },
    ])
    const hand = await run('bash', [...BASH, byHand], { cwd: house })
    const { leaf } = JSON.parse(readFileSync(path.join(house, 'entry.json'), 'utf8')) as { leaf: string }
    expect(hand.out.trim()).toBe(leaf)
  })

  it('names every exit code', () => {
    const text = readFileSync(path.join(root, 'docs/verify.md'), 'utf8')
    for (const [kind, { exit, title }] of Object.entries(FINDING_KINDS))
      expect(text).toMatch(new RegExp(`\\| ${exit} +\\| ${kind} +\\| ${title} +\\|`))
  })

  it('control: an export that is refused or cut off leaves no file', async () => {
    const refused = await agentguard([
      'export',
      '--url',
      proven.app.url,
      '--admin-key',
      'wrong',
      '-o',
      'refused.ndjson',
    ])
    expect([refused.code, refused.err]).toEqual([
      2,
      'agentguard: The server answers 401: The key is not valid.\n',
    ])
    const away = await agentguard([
      'export',
      '--url',
      'http://127.0.0.1:9',
      '--admin-key',
      'x',
      '-o',
      'refused.ndjson',
    ])
    expect(away.code).toBe(2)
    expect(() => readFileSync(path.join(folder, 'refused.ndjson'))).toThrow('ENOENT')
  })
})
