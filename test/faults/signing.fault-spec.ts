import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Checkpoint, parseCheckpoint } from '../../src/core/ledger/checkpoint'
import { CompactTree, leafHash } from '../../src/core/ledger/merkle'
import { parseNote } from '../../src/core/ledger/note'
import { sha256 } from '../../src/ledger/tree-tiles'
import { Replica } from '../support/replica'
import { report, sized } from '../support/size'
import { startStrictPostgres, type StrictPostgres } from '../support/strict-postgres'

jest.setTimeout(sized(240_000, 900_000))

const STEPS = [
  'integrating',
  'integrated',
  'checked',
  'remembering',
  'remembered',
  'signed',
  'publishing',
  'published',
] as const
type Step = (typeof STEPS)[number]

let postgres: StrictPostgres

beforeAll(async () => {
  postgres = await startStrictPostgres()
})
afterAll(() => postgres?.stop())

interface Agent {
  readonly agent_id: string
  readonly api_key: string
}

/** One service that signs, in a database of its own; everything it ever signed or published is kept aside. */
class SigningService {
  private constructor(
    readonly replica: Replica,
    private readonly agent_key: string,
    private readonly database: string,
    private readonly folder: string,
  ) {}

  /** Also keeps a copy of the database from before anything was signed. */
  static async start(database: string, env: Record<string, string> = {}): Promise<SigningService> {
    const folder = mkdtempSync(path.join(tmpdir(), 'agentguard-signing-'))
    const at = (name: string) => path.join(folder, name)
    const database_url = await postgres.createDatabase(database)
    const before = await Replica.start({ database_url })
    const { agent_id, api_key } = await before.call<Agent>('POST', '/agents', {
      name: 'crash',
      owner_team: 'proofs',
      environment: 'dev',
    })
    await before.call('PUT', `/agents/${agent_id}/policy`, { allow: [{ action: 'read' }] })
    await before.remove()
    await keepAll(database)
    await postgres.query('postgres', `CREATE DATABASE ${database}_copy TEMPLATE ${database} OWNER tenant`)
    const replica = await Replica.start({
      database_url,
      preload: ['test/faults/stop-at-step.cjs'],
      env: {
        LEDGER_SIGNER_DIR: at('signer'),
        STEP_FILE: at('step'),
        STEP_REACHED: at('reached'),
        SIGNED_NOTES: at('notes'),
        ...env,
      },
    })
    return new SigningService(replica, api_key, database, folder)
  }

  /** Asks for decisions; those that the crash cuts off are nobody's. */
  async decide(count: number): Promise<void> {
    const headers = { 'X-Agent-Key': this.agent_key, 'Content-Type': 'application/json' }
    const asked = Array.from({ length: count }, (_, i) =>
      fetch(`${this.replica.url}/enforce`, {
        method: 'POST',
        headers,
        body: JSON.stringify({ action: 'read', resource: `file-${i}` }),
        signal: AbortSignal.timeout(10_000),
      }).then((response) => response.text()),
    )
    await Promise.allSettled(asked)
  }

  /** Lets the service work until the step, and kills it there. */
  async killAt(step: Step): Promise<void> {
    const reached = path.join(this.folder, 'reached')
    rmSync(reached, { force: true })
    writeFileSync(path.join(this.folder, 'step'), step)
    const asked = this.decide(20)
    await until(`it reaches ${step}`, () => existsSync(reached))
    await this.replica.kill()
    await asked
    rmSync(path.join(this.folder, 'step'))
  }

  /** Until everything is under a checkpoint; false when the log was halted instead. */
  async settled(): Promise<boolean> {
    let halted = false
    await until('everything is signed', async () => {
      const [state] = await postgres.query<{ unsigned: boolean; halted: boolean }>(
        this.database,
        `SELECT bool_or(h.size > coalesce(t.signed, 0)) AS unsigned,
                EXISTS (SELECT FROM ledger.ledger_halt) AS halted
         FROM ledger.ledger_head h LEFT JOIN ledger.ledger_tree t USING (org_id, epoch)`,
      )
      halted = state?.halted ?? false
      return halted || state?.unsigned === false
    })
    return !halted
  }

  /** What was published, and what was signed, published or not. */
  async notes(): Promise<{ published: Checkpoint[]; signed: Checkpoint[] }> {
    const rows = await postgres.query<{ note: string }>(this.database, 'SELECT note FROM seen')
    const file = path.join(this.folder, 'notes')
    const lines = existsSync(file) ? readFileSync(file, 'utf8').split('\n').slice(0, -1) : []
    return {
      published: rows.map(({ note }) => read(note)),
      signed: lines.map((line) => read(JSON.parse(line) as string)),
    }
  }

  /** Statements that are not about a beginning of the log as it is now. */
  async contradictions(): Promise<string[]> {
    const { published, signed } = await this.notes()
    const entries = await postgres.query<{ entry: Buffer }>(
      this.database,
      "SELECT entry FROM ledger.ledger_entry WHERE org_id = 'org_default' ORDER BY index",
    )
    const tree = new CompactTree(sha256)
    const roots = [Buffer.from(tree.root()).toString('base64')]
    for (const { entry } of entries) {
      tree.append(leafHash(sha256, entry))
      roots.push(Buffer.from(tree.root()).toString('base64'))
    }
    return [...published, ...signed]
      .filter(({ size, root }) => roots[size] !== Buffer.from(root).toString('base64'))
      .map(({ origin, size }) => `${origin} ${size}`)
  }

  /** Puts the copy in the database's place, as an operator restores a backup. The service does not run. */
  async restore(): Promise<void> {
    const { database } = this
    await postgres.query('postgres', `DROP DATABASE ${database} WITH (FORCE)`)
    await postgres.query('postgres', `ALTER DATABASE ${database}_copy RENAME TO ${database}`)
  }

  async remove(): Promise<void> {
    await this.replica.remove()
    rmSync(this.folder, { recursive: true, force: true })
  }
}

/** Checkpoints are thinned out with time: from now on each one is kept aside. */
async function keepAll(database: string): Promise<void> {
  await postgres.query(database, 'CREATE TABLE seen (note text NOT NULL)')
  await postgres.query(
    database,
    `CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
     'BEGIN INSERT INTO public.seen VALUES (NEW.note); RETURN NULL; END'`,
  )
  await postgres.query(
    database,
    'CREATE TRIGGER keep AFTER INSERT ON ledger.ledger_checkpoint FOR EACH ROW EXECUTE FUNCTION keep()',
  )
}

function read(text: string): Checkpoint {
  const note = parseNote(text)
  const checkpoint = note.ok ? parseCheckpoint(note.value.text) : note
  if (!checkpoint.ok) throw new Error(checkpoint.errors.detail)
  return checkpoint.value
}

async function until(what: string, check: () => boolean | Promise<boolean>): Promise<void> {
  const end = performance.now() + 60_000
  while (!(await check())) {
    if (performance.now() > end) throw new Error(`not within 60 s: ${what}`)
    await sleep(20)
  }
}

describe('kill -9 of the process that integrates and signs', () => {
  it('at every step leaves published checkpoints that agree with each other, and signs nothing differently', async () => {
    const service = await SigningService.start('signing')
    try {
      for (let round = 0; round < sized(1, 6); round++) {
        for (const step of STEPS) {
          await service.killAt(step)
          await service.replica.start()
          expect([step, await service.settled()]).toEqual([step, true])
          expect([step, await service.contradictions()]).toEqual([step, []])
        }
      }
      const { published, signed } = await service.notes()
      const sizes = published.map(({ size }) => size)
      expect(sizes).toEqual(sizes.toSorted((a, b) => a - b))
      expect(published.length).toBeGreaterThanOrEqual(STEPS.length)
      // What was signed and lost at a crash was signed again, as the same.
      expect(signed.length).toBeGreaterThan(published.length)
      const { valid } = await service.replica.call<{ valid: boolean }>('GET', '/logs/verify')
      expect(valid).toBe(true)
      report(
        `killed at ${STEPS.length} steps: ${published.length} checkpoints published, ${signed.length} signed`,
      )
    } finally {
      await service.remove()
    }
  })

  it.each([
    ['is halted, because the signer remembers', 'false', false],
    ['is signed differently when the signer does not remember (control)', 'true', true],
  ])('a log that lost what was signed, and went on differently, %s', async (what, FORGETFUL, settles) => {
    const service = await SigningService.start(`restored_${FORGETFUL}`, { FORGETFUL })
    try {
      await service.decide(20)
      expect(await service.settled()).toBe(true)
      expect(await service.contradictions()).toEqual([])
      const before = (await service.notes()).signed.length
      await service.replica.kill()
      await service.restore()
      await service.replica.start()
      await service.decide(40)
      expect(await service.settled()).toBe(settles)
      const { published, signed } = await service.notes() // published: since the restore
      expect([published.length > 0, signed.length > before]).toEqual([settles, settles])
      const contradictions = await service.contradictions()
      report(
        `a restored log ${what}; it contradicts ${contradictions.length} of the statements that were signed`,
      )
    } finally {
      await service.remove()
    }
  })
})
