import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { Client as Postgres } from 'pg'
import { parseCheckpoint } from '../../src/core/ledger/checkpoint.js'
import { makeVerifierKey, parseNote, parseVerifierKey, verifyNote } from '../../src/core/ledger/note.js'
import type { Settings } from '../../src/platform/config/settings.js'
import { sha256 } from '../../src/ledger/tree-tiles.js'
import { verifyEd25519 } from '../../src/ledger/signing.js'
import { type RunningApp, startApp } from './app.js'
import { Client } from './client.js'
import type { TestDatabase } from './postgres.js'

/** An application that signs, with one agent that may read. */
export interface ProvenApp {
  readonly app: RunningApp
  /** Root key. */
  readonly root: Client
  readonly agent: Client
  readonly agent_id: string
  /** Superuser of the database: for attacks. */
  readonly owner: Postgres
  readonly signer_dir: string
  /** Asks for decisions until `count` more entries are in the log. */
  decide(count: number): Promise<string[]>
  /** Waits until everything is under a checkpoint. */
  signed(): Promise<VerifiedNote>
  close(): Promise<void>
}

export interface VerifiedNote {
  readonly origin: string
  readonly size: number
  readonly root: Uint8Array
  readonly note: string
}

export interface Made {
  readonly agent: Client
  readonly agent_id: string
}

export async function makeAgent(root: Client, name: string): Promise<Made> {
  const made = await root.post<{ agent_id: string; api_key: string }>('/agents', {
    name,
    owner_team: 'proofs',
    environment: 'dev',
  })
  await root.put(`/agents/${made.body.agent_id}/policy`, { allow: [{ action: 'read' }] })
  return { agent: new Client(root.url, { 'X-Agent-Key': made.body.api_key }), agent_id: made.body.agent_id }
}

/** @param database an existing one, which is not dropped at the end */
export async function startProvenApp(
  settings: Partial<Settings> = {},
  database?: TestDatabase,
): Promise<ProvenApp> {
  const signer_dir = mkdtempSync(path.join(tmpdir(), 'agentguard-signer-'))
  const app = await startApp({
    settings: { ledger_signer_dir: signer_dir, ...settings },
    ...(database && { database }),
  })
  const root = new Client(app.url, { 'X-Admin-Key': app.admin_key })
  const owner = new Postgres({ connectionString: app.database.owner_url })
  await owner.connect()
  const { agent, agent_id } = await makeAgent(root, 'prover')
  return {
    app,
    root,
    agent,
    agent_id,
    owner,
    signer_dir,
    decide: async (count) => {
      const ids: string[] = []
      for (let done = 0; done < count; done += 50) {
        const asked = Array.from({ length: Math.min(50, count - done) }, (_, i) =>
          decided(agent, {
            action: i % 5 === 0 ? 'write' : 'read',
            resource: `file-${done + i}`,
            ...(i % 3 === 0 && { context: { i } }),
          }),
        )
        ids.push(...(await Promise.all(asked)))
      }
      return ids
    },
    signed: async () => {
      const { rows } = await owner.query<{ size: string }>(
        "SELECT size FROM ledger.ledger_head WHERE org_id = 'org_default'",
      )
      return until(async () => {
        const note = await readCheckpoint(root)
        return note && note.size >= Number(rows[0]?.size) ? note : null
      })
    },
    close: async () => {
      await owner.end()
      await app.close()
      rmSync(signer_dir, { recursive: true, force: true })
    },
  }
}

/** Asks until it is decided: a machine that is too busy answers 503, and then nothing is in the log. */
export const decided = (agent: Client, body: object): Promise<string> =>
  until(async () => {
    const answer = await agent.post<{ decision_id: string }>('/enforce', body)
    if (answer.status === 503) return null
    if (answer.status !== 200) throw new Error(`${answer.status} ${answer.text}`)
    return answer.body.decision_id
  })

/** The newest checkpoint as an outsider reads it: with the published key, by the pure verifier. Null before the first. */
export async function readCheckpoint(client: Client): Promise<VerifiedNote | null> {
  const answer = await client.get('/ledger/checkpoint')
  if (answer.status === 404) return null
  const keys = await client.get<{ vkey: string }[]>('/.well-known/agentguard-keys.json')
  return openNote(answer.text, keys.body[0]?.vkey ?? '')
}

/** Verifies a note with a published key; throws unless it is genuine, under both of the key's names. */
export function openNote(text: string, vkey: string): VerifiedNote {
  const note = parseNote(text)
  const key = parseVerifierKey(sha256, vkey)
  if (!note.ok || !key.ok) throw new Error(`cannot be read: ${JSON.stringify([note, key])}`)
  const checkpoint = parseCheckpoint(note.value.text)
  if (!checkpoint.ok) throw new Error(checkpoint.errors.detail)
  const named = makeVerifierKey(sha256, checkpoint.value.origin, 'ed25519', key.value.public_key)
  for (const trusted of [key.value, named]) {
    const verdict = verifyNote(note.value, [trusted], verifyEd25519)
    if (!verdict.ok) throw new Error(verdict.errors.detail)
  }
  return { ...checkpoint.value, note: text }
}

/** The first answer that came with its receipt: a busy machine may sign a moment after the answer must leave. */
export const withReceipt = <A extends { text: string }>(ask: () => Promise<A>): Promise<A> =>
  until(async () => {
    const answer = await ask()
    return /"receipt":"/.test(answer.text) ? answer : null
  })

/** Asks again every 20 ms until there is an answer. Gives up where nothing would come any more, however busy the machine. */
export async function until<T>(ask: () => Promise<T | null>, timeout_ms = 60_000): Promise<T> {
  const end = performance.now() + timeout_ms
  for (;;) {
    const answer = await ask()
    if (answer !== null) return answer
    if (performance.now() > end) throw new Error(`nothing within ${timeout_ms} ms`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}
