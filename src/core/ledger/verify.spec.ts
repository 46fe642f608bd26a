import { MadeLog, makeLog, TOOLS } from '../../../test/support/bundle.js'
import fc from 'fast-check'
import { type EntryLine, formatLine } from './bundle.js'
import { canonicalize } from './canonical.js'
import { EntryForms } from './entry-forms.js'
import type { KillScope } from '../policy/stages/kill.js'
import type { Finding, FindingKind } from './findings.js'
import { parseVerifierKey } from './note.js'
import { readPiece } from './pieces.js'
import { BundleVerifier, type Verdict, type VerifyOptions } from './verify.js'

const keyOf = (vkey: string) => {
  const key = parseVerifierKey(TOOLS.sha256, vkey)
  if (!key.ok) throw new Error(key.errors.detail)
  return key.value
}

/** Line by line. Whatever a test is about, the same bundle read in pieces must come out alike. */
function verdictOf(lines: Iterable<string>, options: VerifyOptions = {}): Verdict {
  const all = [...lines]
  const verifier = new BundleVerifier(TOOLS, options)
  for (const line of all) verifier.line(line)
  const verdict = verifier.finish()
  expect(verdictInPieces(all, options)).toEqual(verdict.valid ? verdict : null)
  return verdict
}

/** As `agentguard verify` does with a file; null as soon as anything is found. */
function verdictInPieces(lines: readonly string[], options: VerifyOptions, size = 7): Verdict | null {
  const verifier = new BundleVerifier(TOOLS, options)
  const forms = new EntryForms(TOOLS)
  // Only the manifest, which says of what log it is, is read before.
  for (let at = 0, end = 1; at < lines.length; at = end, end += size) {
    const piece = lines.slice(at, end)
    if (!verifier.piece(at === 0 ? piece : readPiece(piece, verifier.origin ?? '', TOOLS, forms))) return null
  }
  const verdict = verifier.finish()
  return verdict.valid ? verdict : null
}

const first = (verdict: Verdict): Pick<Finding, 'kind' | 'index'> | null => {
  const [finding] = verdict.findings
  return finding ? { kind: finding.kind, index: finding.index } : null
}

const log = makeLog(300, 3)
const lines = [...log.lines()]
const trusted = { keys: [keyOf(log.vkey)] }
/** An entry that has a payload. */
const PAYLOAD = log.entries.findIndex(({ payload }, i) => payload && i > 20)
const at = (index: number) => lines.findIndex((line) => line.includes(`{"kind":"entry","index":${index},`))
const entryAt = (index: number) => JSON.parse(lines[at(index)] ?? '') as EntryLine
const replaced = (index: number, change: (line: EntryLine) => object) =>
  lines.with(at(index), JSON.stringify(change(entryAt(index))))

describe('an untouched bundle', () => {
  it('is valid: every entry under the signed root', () => {
    const verdict = verdictOf(lines, trusted)
    expect(verdict.findings).toEqual([])
    expect(verdict).toMatchObject({
      valid: true,
      first: 0,
      end: 300,
      entries: 300,
      unsigned: 0,
      keys: 'given',
      notes: [],
      redacted: 0,
    })
    expect(verdict.checkpoint?.root).toBe(verdict.root)
    const { allow, deny, pending } = verdict.decisions
    expect([allow > 50, deny > 50, pending > 20]).toEqual([true, true, true])
  })

  it('is valid with its own keys, and says that they are its own', () => {
    expect(verdictOf(lines)).toMatchObject({ valid: true, keys: 'bundle' })
  })

  it('is valid with erased payloads, which are counted', () => {
    const redacted = new Set(log.entries.flatMap(({ payload }, i) => (payload && i % 2 === 0 ? [i] : [])))
    expect(redacted.size).toBeGreaterThan(2)
    expect(verdictOf(log.lines({ redacted }), trusted)).toMatchObject({
      valid: true,
      redacted: redacted.size,
    })
  })

  it('is not called signed when it has no checkpoint, and refused when a key was to be held against it', () => {
    const bare = [...log.lines({ signed: false })]
    const verdict = verdictOf(bare)
    expect(verdict).toMatchObject({ valid: true, checkpoint: null, keys: 'none', unsigned: 300 })
    expect(verdict.notes).toEqual(['The bundle has no checkpoint: nothing in it is signed.'])
    expect(first(verdictOf(bare, trusted))).toEqual({ kind: 'signature', index: null })
  })

  it('is valid line by line whatever the entries say in other scripts', () => {
    const strange = new MadeLog()
    strange.decide('agt_ü', {
      action: 'lies:datei',
      resource: 'ordner/\ud83d\ude00 "ü"',
      context: { '10': 1, '9': '\u0000' },
    })
    expect(verdictOf(strange.lines())).toMatchObject({ valid: true, entries: 2 })
  })
})

describe('a changed bundle', () => {
  it('is found out at the entry, whichever byte of an entry line changes', () => {
    const small = makeLog(12, 1)
    const all = [...small.lines()]
    const missed: string[] = []
    for (const [i, line] of all.entries()) {
      const index = /^{"kind":"entry","index":(\d+),/.exec(line)?.[1]
      if (index === undefined) continue
      for (let position = Number(index) % 4; position < line.length; position += 4) {
        const bytes = Buffer.from(line)
        bytes[position] = (bytes[position] ?? 0) ^ (1 << (position % 7))
        const [found] = verdictOf(all.with(i, bytes.toString())).findings
        if (found?.index !== Number(index)) missed.push(`${index} ${position} ${JSON.stringify(found)}`)
      }
    }
    expect(missed).toEqual([])
  })

  it('is found out whichever byte of a policy line changes', () => {
    const small = [...makeLog(12, 1).lines()]
    const i = small.findIndex((line) => line.startsWith('{"kind":"policy"'))
    for (let position = 0; position < (small[i]?.length ?? 0); position += 3) {
      const bytes = Buffer.from(small[i] ?? '')
      bytes[position] = (bytes[position] ?? 0) ^ 1
      expect(verdictOf(small.with(i, bytes.toString())).valid).toBe(false)
    }
  })

  it.each<[string, FindingKind, number, () => string[]]>([
    ['a missing entry', 'index', 100, () => lines.toSpliced(at(100), 1)],
    ['an entry that is there twice', 'index', 101, () => lines.toSpliced(at(100), 0, lines[at(100)] ?? '')],
    [
      'two entries in the wrong order',
      'index',
      100,
      () => lines.with(at(100), lines[at(101)] ?? '').with(at(101), lines[at(100)] ?? ''),
    ],
    [
      'two entries that changed places under their indexes',
      'entry_changed',
      100,
      () => {
        const [a, b] = [entryAt(100), entryAt(101)]
        return lines
          .with(at(100), formatLine({ ...b, index: 100, leaf: a.leaf }))
          .with(at(101), formatLine({ ...a, index: 101, leaf: b.leaf }))
      },
    ],
    [
      'another reason',
      'entry_changed',
      160,
      () =>
        replaced(160, (line) => ({
          ...line,
          entry: line.entry.replace('Matched', 'matched').replace('default deny', 'default'),
        })),
    ],
    [
      'an entry that is not canonical',
      'entry_changed',
      7,
      () => replaced(7, (line) => ({ ...line, entry: `${line.entry} ` })),
    ],
    [
      'another column',
      'projection',
      50,
      () =>
        replaced(50, (line) => ({ ...line, columns: { ...line.columns, allowed: !line.columns.allowed } })),
    ],
    [
      'another time beside the entry',
      'projection',
      51,
      () =>
        replaced(51, (line) => ({ ...line, columns: { ...line.columns, ts: '2026-01-01T00:00:00.999Z' } })),
    ],
    [
      'a payload that was left out',
      'payload',
      PAYLOAD,
      () => replaced(PAYLOAD, ({ payload: _, ...line }) => line),
    ],
    [
      'a payload where none belongs',
      'payload',
      50,
      () => replaced(50, (line) => ({ ...line, payload: { redacted: true } })),
    ],
    [
      'another payload',
      'payload',
      PAYLOAD,
      () =>
        replaced(PAYLOAD, (line) => ({
          ...line,
          payload: { ...line.payload, text: '{"arguments":{"to":"someone-else"}}' },
        })),
    ],
    ['a member nobody knows', 'malformed', 50, () => replaced(50, (line) => ({ ...line, more: 1 }))],
    [
      'the same content spelt otherwise',
      'malformed',
      50,
      () => lines.with(at(50), ` ${lines[at(50)] ?? ''}`),
    ],
    ['the tail cut off', 'truncated', 200, () => lines.slice(0, at(200))],
    [
      'the tail cut off before the end line',
      'truncated',
      200,
      () => lines.toSpliced(at(200), lines.length - 1 - at(200)),
    ],
    ['lines after the end', 'malformed', 300, () => [...lines, lines[at(299)] ?? '']],
    [
      'a policy that was taken out',
      'policy',
      2,
      () =>
        lines.toSpliced(
          lines.findIndex((line) => line.startsWith('{"kind":"policy"')),
          1,
        ),
    ],
  ])('is found out: %s', (_, kind, index, change) => {
    const changed = change()
    expect(changed).not.toEqual(lines)
    expect(first(verdictOf(changed, trusted))).toEqual({ kind, index })
  })

  it('is found out when entry, leaf and columns were changed together: the root is not the signed one', () => {
    const other = makeLog(300, 3)
    const forged = [...other.lines()]
    const mixed = lines.slice(0, 3).concat(forged.slice(3))
    const verdict = verdictOf(mixed, trusted)
    expect(first(verdict)).toEqual({ kind: 'root', index: 0 })
    expect(verdict.checkpoint).toBeNull()
  })

  it('is found out when it is signed by another key than the one that is trusted', () => {
    const forged = makeLog(50, 2)
    expect(first(verdictOf(forged.lines()))).toBeNull()
    expect(first(verdictOf(forged.lines(), trusted))).toEqual({ kind: 'signature', index: null })
  })

  it('is found out when a tail is cut off and the counts are made to fit: the checkpoint covers more', () => {
    const end = { kind: 'end', entries: 250, policies: 0, lines: 0 }
    const short = lines.slice(0, at(250))
    end.policies = short.filter((line) => line.startsWith('{"kind":"policy"')).length
    end.lines = short.length + 1
    short[0] = (short[0] ?? '').replace('"end":300', '"end":250')
    expect(first(verdictOf([...short, JSON.stringify(end)], trusted))).toEqual({ kind: 'root', index: 250 })
  })

  it('is found out when it belongs to another organization', () => {
    const foreign = new MadeLog('org_bbbbbbbbbbbbbbbb')
    const [line] = [...foreign.lines()].filter((text) => text.startsWith('{"kind":"entry"'))
    const mixed = lines.with(at(0), line ?? '')
    const verdict = verdictOf(mixed, trusted)
    expect(verdict.findings).toContainEqual(
      expect.objectContaining({ kind: 'entry_invalid', index: 0, field: 'entry.log' }),
    )
  })

  it('names the line and the member, and goes on after a finding, up to a number of them', () => {
    const twice = replaced(50, (line) => ({ ...line, columns: { ...line.columns, allowed: null } }))
    const { findings } = verdictOf(twice, trusted)
    expect(findings).toEqual([
      {
        kind: 'projection',
        index: 50,
        line: at(50) + 1,
        field: 'columns.allowed',
        detail: 'the column allowed differs from the entry',
      },
    ])
    const all = lines.map((line) => line.replace('"columns":{"id":"0', '"columns":{"id":"1'))
    const many = verdictOf(all, { ...trusted, most_findings: 5 })
    expect([many.findings.length, many.more_findings]).toEqual([5, 295])
  })

  it('never throws on lines of any form', () => {
    const odd = [
      '',
      '{',
      'null',
      '[]',
      '1',
      '"x"',
      '{"kind":1}',
      '{"kind":"__proto__"}',
      '{"kind":"manifest"}',
      '{"kind":"end","entries":-1,"policies":0,"lines":1}',
    ]
    for (const line of odd) {
      for (const place of [0, 1, 5])
        expect(verdictOf(lines.toSpliced(place, 0, line), trusted).valid).toBe(false)
      expect(verdictOf([line]).valid).toBe(false)
    }
    expect(verdictOf([]).valid).toBe(false)
  })
})

describe('an older checkpoint that the auditor holds', () => {
  it('is shown to be the beginning of the log', () => {
    const verdict = verdictOf(lines, { ...trusted, older: [log.checkpoint(17), log.checkpoint(256)] })
    expect(verdict).toMatchObject({ valid: true, older: [{ size: 17 }, { size: 256 }] })
  })

  it('is found to differ when history was written anew under the same key', () => {
    const wrong = log.checkpoint(17).split('\n')
    const other = new MadeLog()
    const elsewhere = makeLog(17, 3)
    Object.assign(elsewhere, {
      private_key: Reflect.get(log, 'private_key') as unknown,
      public_key: Reflect.get(log, 'public_key') as unknown,
    })
    expect(wrong[1]).toBe('17')
    expect(first(verdictOf(lines, { ...trusted, older: [elsewhere.checkpoint()] }))).toEqual({
      kind: 'consistency',
      index: 0,
    })
    expect(first(verdictOf(lines, { ...trusted, older: [other.checkpoint()] }))).toEqual({
      kind: 'consistency',
      index: null,
    })
  })

  it('is found when the log is shorter than it was', () => {
    const short = new MadeLog()
    short.decide('agt_a', { action: 'read' })
    const held = short.checkpoint()
    short.entries.pop()
    const verdict = verdictOf(short.lines(), { keys: [keyOf(short.vkey)], older: [held] })
    expect(first(verdict)).toEqual({ kind: 'consistency', index: 1 })
  })
})

describe('what must hold between entries', () => {
  const A = 'agt_a'
  const allowed = { allow: [{ action: 'read' }], deny: [], require_approval: [] }
  const begun = () => {
    const made = new MadeLog()
    made.change(
      'agent.created',
      { kind: 'agent', id: A, op: 'created' },
      { agent_id: A, after: { is_active: true } },
    )
    made.policy(A, allowed)
    made.decide(A, { action: 'read' })
    return made
  }
  const found = (made: MadeLog, redacted?: ReadonlySet<number>) => {
    const verdict = verdictOf(made.lines(redacted ? { redacted } : {}), { keys: [keyOf(made.vkey)] })
    return verdict.findings.map(({ kind, index, field }) => ({ kind, index, field }))
  }

  it('is kept by a log that keeps it', () => {
    const made = begun()
    made.change('key.revoked', { kind: 'key', id: 'key_old', op: 'revoked' }, { agent_id: A, raises: true })
    made.decide(A, { action: 'read' })
    made.policy(A, { ...allowed, deny: [{ action: 'write' }] })
    made.decide(A, { action: 'read' })
    made.change(
      'agent.updated',
      { kind: 'agent', id: A, op: 'updated' },
      { agent_id: A, after: { is_active: false }, raises: true },
    )
    made.decide(A, { action: 'write' })
    made.change(
      'agent.updated',
      { kind: 'agent', id: A, op: 'updated' },
      { agent_id: A, after: { is_active: true }, raises: true },
    )
    made.decide(A, { action: 'read' })
    expect(found(made)).toEqual([])
  })

  it.each(['installation', 'organization', 'agent'] as const)('finds a %s version that went back', (name) => {
    const made = begun()
    made.raiseOrganization()
    made.change(
      'organization.updated',
      { kind: 'organization', id: made.org_id, op: 'updated' },
      { after: { is_active: true } },
    )
    made.change('policy.read', { kind: 'other', id: 'x', op: 'read' }, { config: { installation: 2 } })
    made.change(
      'key.revoked',
      { kind: 'key', id: 'key_old', op: 'revoked' },
      { agent_id: A, raises: true, config: { installation: 2 } },
    )
    const now = { installation: 2, organization: 2, agent: 3 }
    const before = made.decide(A, { action: 'read' }, { config: now })
    expect(found(made)).toEqual([])
    made.decide(A, { action: 'read' }, { config: { ...now, [name]: now[name] - 1 } })
    expect(found(made)).toEqual([{ kind: 'versions', index: before + 1, field: `entry.config.${name}` }])
  })

  it('finds an allow by a key after its revocation', () => {
    const made = begun()
    made.change('key.revoked', { kind: 'key', id: `key_${A}`, op: 'revoked' }, { agent_id: A, raises: true })
    made.decide(A, { action: 'write' })
    expect(found(made)).toEqual([])
    const index = made.decide(A, { action: 'read' })
    expect(found(made)).toEqual([{ kind: 'revoked', index, field: 'entry.actor.key_id' }])
  })

  it.each([
    ['agent.deleted', undefined],
    ['agent.updated', false],
  ])('finds an allow after %s', (event, is_active) => {
    const made = begun()
    const change = { kind: 'agent', id: A, op: event.slice(6) }
    const at = made.change(event, change, {
      agent_id: A,
      raises: true,
      ...(is_active === false && { after: { is_active } }),
    })
    const index = made.decide(A, { action: 'read' })
    expect(found(made)).toEqual([{ kind: 'inactive', index, field: 'entry.decision.effect' }])
    // An erased payload of an update says nothing; of a deletion the event says it all.
    expect(found(made, new Set([at]))).toHaveLength(event === 'agent.deleted' ? 1 : 0)
  })

  it('finds an allow while the organization is suspended', () => {
    const made = begun()
    made.raiseOrganization()
    made.change(
      'organization.updated',
      { kind: 'organization', id: made.org_id, op: 'updated' },
      { after: { is_active: false } },
    )
    const index = made.decide(A, { action: 'read' })
    expect(found(made)).toEqual([{ kind: 'inactive', index, field: 'entry.decision.effect' }])
  })

  it.each([
    ['team', { team: 'ops' }, 1],
    ['team', { team: 'another' }, 0],
    ['organization', {}, 1],
  ])('finds an allow that leaves out the policy of the %s %j', (scope, of, findings) => {
    const made = begun()
    const entry = made.entries[made.size - 1]?.entry
    const sha256 = entry?.type === 'decision' ? (entry.policies[0]?.sha256 ?? '') : ''
    const policy = { kind: 'policy', id: 'pol_wider', op: 'updated', scope, ...of, version: 1, sha256 }
    made.change('policy.updated', policy)
    const index = made.decide(A, { action: 'read' })
    made.decide(A, { action: 'not allowed' })
    expect(found(made)).toEqual(
      findings === 0 ? [] : [{ kind: 'policy_stale', index, field: 'entry.policies' }],
    )
  })

  it.each<[KillScope, string | undefined, string | undefined]>([
    ['installation', undefined, undefined],
    ['organization', undefined, undefined],
    ['environment', 'prod', 'dev'],
    ['team', 'ops', 'sales'],
    ['agent', A, 'agt_other'],
    ['key', `key_${A}`, 'key_other'],
    ['action', 'READ', 'write:*'],
  ])('finds an allow while a kill switch stops the %s %s', (scope, target, other) => {
    const made = begun()
    const activated = made.kill('activated', scope, target)
    made.decide(A, { action: 'write' }) // no allow
    expect(found(made)).toEqual([])
    const index = made.decide(A, { action: 'read' })
    expect(found(made)).toEqual([{ kind: 'killed', index, field: 'entry.decision.effect' }])
    const [finding] = verdictOf(made.lines()).findings
    expect(finding?.detail).toContain(`entry ${activated} had stopped the ${scope}`)
    made.kill('deactivated', scope, target)
    made.decide(A, { action: 'read' })
    expect(found(made)).toHaveLength(1)
    if (other === undefined) return
    const beside = begun()
    beside.kill('activated', scope, other)
    beside.decide(A, { action: 'read' })
    expect(found(beside)).toEqual([])
  })

  it('holds a kill switch until its own end, whatever else ends', () => {
    const made = begun()
    made.kill('activated', 'agent', A, 'kil_1')
    made.kill('activated', 'team', 'ops', 'kil_2')
    made.kill('deactivated', 'team', 'ops', 'kil_2')
    const index = made.decide(A, { action: 'read' })
    expect(found(made)).toEqual([{ kind: 'killed', index, field: 'entry.decision.effect' }])
  })

  it('finds a kill entry that is not one', () => {
    for (const over of [{ scope: 'moon' }, { op: 'paused' }, { target: 'x' }, { reason: 1 }]) {
      const made = begun()
      const at = made.kill('activated', 'organization')
      const { entry } = made.entries[at] ?? {}
      if (entry?.type !== 'kill') throw new Error('no kill entry')
      made.append({ ...entry, kill: { ...entry.kill, ...over } } as typeof entry, null)
      expect(found(made)).toEqual([{ kind: 'entry_invalid', index: at + 1, field: 'entry.kill' }])
    }
  })

  it('finds a decision that names a policy version that is no longer current, another digest, none, or an unknown one', () => {
    const made = begun()
    const entry = made.entries[made.size - 1]?.entry
    const old = entry?.type === 'decision' ? entry.policies : []
    made.policy(A, { ...allowed, deny: [{ action: 'write' }] })
    const index = made.decide(A, { action: 'read' }, { policies: old })
    expect(found(made)).toEqual([{ kind: 'policy_stale', index, field: 'entry.policies[0].version' }])
    made.decide(A, { action: 'read' }, { policies: old.map((policy) => ({ ...policy, version: 2 })) })
    made.decide(A, { action: 'read' }, { policies: [] })
    const current = made.size
    made.decide(A, { action: 'read' })
    const known = made.entries[current]?.entry
    const both = known?.type === 'decision' ? known.policies : []
    made.decide(
      A,
      { action: 'read' },
      { policies: [...both, ...both.map((policy) => ({ ...policy, id: 'pol_of_nobody' }))] },
    )
    expect(found(made).slice(1)).toEqual([
      { kind: 'policy_stale', index: index + 1, field: 'entry.policies[0].sha256' },
      { kind: 'policy_stale', index: index + 2, field: 'entry.policies' },
      { kind: 'policy_stale', index: index + 4, field: 'entry.policies[1].id' },
    ])
  })

  it('finds an id whose time is not the entry’s, and a log of another installation', () => {
    const made = begun()
    const { id } = made.entries[0]?.entry ?? { id: '' }
    made.decide(A, { action: 'read' }, { entry: { id } })
    made.decide(A, { action: 'read' }, { entry: { log: made.origin.replace('agentguard', 'otherguard') } })
    made.decide(A, { action: 'read' }, { entry: { log: made.origin.replace(/e1$/, 'e2') } })
    expect(found(made).map(({ kind, field }) => [kind, field])).toEqual([
      ['entry_invalid', 'entry.ts'],
      ['entry_invalid', 'entry.log'],
      ['entry_invalid', 'entry.log'],
    ])
  })
})

it('control: canonical JSON is looked at, not only JSON', () => {
  const made = new MadeLog()
  const text = made.entries[0]?.text ?? ''
  const value = JSON.parse(text) as Record<string, unknown>
  const { v, ...rest } = value
  const unsorted = JSON.stringify({ v, ...rest })
  expect(unsorted).not.toBe(canonicalize(value as never))
  made.entries[0] = { ...made.entries[0]!, text: unsorted }
  const verdict = verdictOf(made.lines({ signed: false }))
  expect(first(verdict)).toEqual({ kind: 'entry_invalid', index: 0 })
})

describe('read in pieces, each by itself', () => {
  it('hands over what rules need of an entry once a piece, however many say it', () => {
    const [run] = readPiece(lines.slice(at(100), at(200)), log.origin, TOOLS)
    if (typeof run !== 'object') throw new Error('the entries are no run')
    expect([run.first, run.which.length, run.leaves.length]).toEqual([100, 100, 3200])
    expect((JSON.parse(run.distinct) as unknown[]).length).toBeLessThan(25)
  })

  it('finds every changed character of a line whose form it knows', () => {
    const forms = new EntryForms(TOOLS)
    readPiece(lines.slice(1), log.origin, TOOLS, forms)
    const known = lines.filter((line) => forms.read(line) !== null)
    expect(known.length).toBeGreaterThan(250) // else nothing is tested here
    const one = known.find((line) => line.includes('"payload":{"salt"')) ?? ''
    for (const line of [known[100] ?? '', one]) {
      for (let position = 0; position < line.length; position++) {
        for (const to of ['x', '0', '"', '\\', '\u0001', '\n', 'é', '']) {
          const other = line.slice(0, position) + to + line.slice(position + 1)
          // A form that is right in itself may have the number of another place: the order says so.
          if (
            other === line ||
            /^{"kind":"entry","index":\d+,/.exec(other)?.[0] !== /^[^,]*,[^,]*,/.exec(line)?.[0]
          )
            continue
          expect([other, forms.read(other)]).toEqual([other, null])
        }
      }
    }
  })

  it('stops keeping forms where none comes again', () => {
    const made = new MadeLog()
    made.policy('agt_a', { allow: [{ action: 'read:*' }] })
    for (let i = 0; i < 1_100; i++) made.decide('agt_a', { action: `read:thing_${i}` })
    const all = [...made.lines()]
    const forms = new EntryForms(TOOLS)
    readPiece(all.slice(1), made.origin, TOOLS, forms)
    expect(all.filter((line) => forms.read(line) !== null)).toEqual([])
    expect(verdictInPieces(all, {}, 400)?.entries).toBe(made.size)
  })

  it('takes an entry for a known form only when all that rules read of it is the same', () => {
    const tricky = (facts: object, over: object = {}) => {
      const made = new MadeLog()
      const id = '019b76da-a800-7dde-a5e5-6cc465c801c0'
      for (const copy of [id, '019b76da-a80a-77a7-af85-38995e9e6620'])
        made.decide('agt_a', { action: 'read' }, { entry: { facts: { ...facts, copy }, ...over } })
      return verdictOf(made.lines()).findings.length // holds the two ways against each other
    }
    expect(tricky({})).toBe(0)
    expect(tricky({ a: 1, id: '019b76da-a800-7dde-a5e5-6cc465c801c0' })).toBe(0)
    expect(tricky({ a: 1, payload: { c: 'x'.repeat(43) }, ts: '2026-01-01T00:00:00.000Z' })).toBe(0)
    // Two entries of one id, whose columns say what a member of the same name says elsewhere.
    const id = '019b76da-a80a-77a7-af85-38995e9e6620'
    const other = '019b76da-a80a-77a7-af85-38995e9e6621'
    const made = new MadeLog()
    for (const decoy of [id, other])
      made.decide(
        'agt_a',
        { action: 'read' },
        { entry: { id, ts: '2026-01-01T00:00:00.010Z', facts: { a: 1, id: decoy } } },
      )
    const twice = [...made.lines()].map((line) =>
      line.includes('"index":2')
        ? line.replace(`"columns":{"id":"${id}"`, `"columns":{"id":"${other}"`)
        : line,
    )
    expect(verdictOf(twice).findings.length).toBeGreaterThan(0)
  })

  it('is valid exactly when it is line by line, however it is spelt', () => {
    const spellings: readonly ((line: string) => string)[] = [
      (line) => line.replace('"kind":"entry"', '"kind": "entry"'),
      (line) => ` ${line}`,
      (line) => line.replace('{"kind":"entry",', '{"index":0,"kind":"entry",'),
      (line) => line.replace(/^(\{"kind":"entry".*)\}$/, '$1,"kind":"entry"}'),
      (line) => line.replace(/^(\{"kind":"entry".*)\}$/, '$1,"kind":"policy"}'),
      (line) => line.replace('"columns":{', '"columns":{"id":"x",'),
      (line) => line.replace('read', '\\u0072ead'),
      (line) => line.replace('\\"v\\":1}', '\\"v\\": 1}'),
      () => '',
    ]
    const change = fc.oneof(
      fc.record({
        at: fc.nat(),
        character: fc.nat(),
        to: fc.constantFrom('x', '0', '1', '"', '\\', ' ', '}', ','),
      }),
      fc.record({ at: fc.nat(), spelling: fc.constantFrom(...spellings) }),
    )
    fc.assert(
      fc.property(change, ({ at: place, ...how }) => {
        const index = place % lines.length
        const line = lines[index] ?? ''
        const position = 'character' in how ? how.character % line.length : 0
        const other =
          'spelling' in how ? how.spelling(line) : line.slice(0, position) + how.to + line.slice(position + 1)
        const changed = lines.with(index, other)
        verdictOf(changed, trusted)
      }),
      { numRuns: 80 },
    )
  })
})
