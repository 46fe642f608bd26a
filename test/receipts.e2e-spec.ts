import { checkReceipt } from '../src/core/ledger/receipt.js'
import { parseVerifierKey, type VerifierKey } from '../src/core/ledger/note.js'
import { TOOLS } from './support/bundle.js'
import { type ProvenApp, startProvenApp, withReceipt } from './support/proofs.js'

interface Answered {
  readonly decision_id: string
  readonly allowed: boolean
  readonly reason: string
  readonly log: { readonly index: number }
  readonly receipt?: string | null
  readonly receipt_url?: string
}

let proven: ProvenApp
let key: VerifierKey

beforeAll(async () => {
  proven = await startProvenApp()
  const keys = await until(proven)
  const parsed = parseVerifierKey(TOOLS.sha256, keys)
  if (!parsed.ok) throw new Error(parsed.errors.detail)
  key = parsed.value
})

afterAll(async () => {
  await proven?.close()
})

async function until(app: ProvenApp): Promise<string> {
  await app.decide(1)
  await app.signed()
  const keys = await app.root.get<{ vkey: string }[]>('/.well-known/agentguard-keys.json')
  return keys.body[0]?.vkey ?? ''
}

const ask = (prefer: string | undefined, action = 'read', path = '/enforce') =>
  proven.agent.post<Answered>(
    path,
    { action, context: { a: 1 } },
    prefer === undefined ? {} : { Prefer: prefer },
  )

/** One that the signer was in time for. */
const proved = (...asked: Parameters<typeof ask>) => withReceipt(() => ask(...asked))

const check = (text: string, keys = [key]) => checkReceipt(TOOLS, text, { keys })

describe('Prefer: receipt', () => {
  it.each(['receipt', 'wait=10, Receipt', 'receipt=""; level=1', 'respond-async,receipt'])(
    'answers %s with a proof of the very decision, which verifies offline',
    async (prefer) => {
      const answers = await Promise.all([
        proved(prefer),
        proved(prefer, 'write'),
        proved(prefer, 'read', '/v1/enforce'),
      ])
      for (const { status, text, body, headers } of answers) {
        expect([status, headers.get('preference-applied')]).toEqual([200, 'receipt'])
        const checked = check(text)
        expect(checked).toMatchObject({
          ok: true,
          value: { index: body.log.index, entry: { id: body.decision_id } },
        })
        // The proof can be had again, and is a file of its own.
        const again = await proven.agent.get(body.receipt_url ?? '')
        expect(check(again.text)).toMatchObject({ ok: true, value: { index: body.log.index } })
        expect(check(body.receipt ?? '')).toMatchObject({ ok: true })
      }
    },
  )

  it.each([undefined, 'respond-async', 'receipts', 'receipt=no', 'wait=1'])(
    'answers %s as ever',
    async (prefer) => {
      const { status, body, headers } = await ask(prefer)
      expect([status, headers.get('preference-applied')]).toEqual([200, null])
      expect(Object.keys(body)).not.toContain('receipt')
    },
  )

  it('finds every member that was changed in the answer, and every character of the proof', async () => {
    const { text, body } = await proved('receipt')
    const changes: readonly [string, Partial<Record<keyof Answered, unknown>>][] = [
      ['decision_id', { decision_id: '0198c0de-0000-7000-8000-000000000000' }],
      ['log.index', { log: { index: body.log.index + 1 } }],
      ['allowed', { allowed: !body.allowed }],
      ['reason', { reason: `${body.reason}.` }],
    ]
    for (const [field, change] of changes) {
      const changed = check(JSON.stringify({ ...body, ...change }))
      expect(changed).toMatchObject({ ok: false, errors: { kind: 'answer', field } })
    }
    const receipt = body.receipt ?? ''
    const signatures = receipt.lastIndexOf('\n\n')
    for (let at = 0; at < signatures; at++) {
      const other = receipt[at] === 'A' ? 'B' : 'A'
      const changed = check(receipt.slice(0, at) + other + receipt.slice(at + 1))
      if (changed.ok) throw new Error(`a changed character ${at} was not found`)
    }
    expect(check(text).ok).toBe(true)
  })

  it('believes no key of another installation, and no other log', async () => {
    const { text } = await proved('receipt')
    expect(check(text, [])).toMatchObject({ ok: false, errors: { kind: 'signature' } })
    expect(check(text, [{ ...key, name: 'elsewhere.example' }])).toMatchObject({
      ok: false,
      errors: { kind: 'signature' },
    })
    expect(checkReceipt(TOOLS, text, { keys: [key], origin: `${key.name}/org_other/e1` })).toMatchObject({
      ok: false,
      errors: { kind: 'signature' },
    })
  })
})

describe('where nobody signs', () => {
  it('answers in time without a receipt, and says where it will be', async () => {
    const unsigned = await startProvenApp({ ledger_signer_dir: undefined })
    try {
      const begin = performance.now()
      const { status, body, headers } = await unsigned.agent.post<Answered>(
        '/enforce',
        { action: 'read' },
        { Prefer: 'receipt' },
      )
      // Nobody ever signs: it is waited for 2 s. The rest is what a loaded machine adds.
      expect(performance.now() - begin).toBeLessThan(10_000)
      expect([status, headers.get('preference-applied'), body.receipt]).toEqual([200, null, null])
      const later = await unsigned.agent.get(body.receipt_url ?? '')
      expect([later.status, later.headers.get('retry-after')]).toEqual([503, '1'])
    } finally {
      await unsigned.close()
    }
  })
})
