import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import type { RunningApp } from './support/app.js'
import { type ProvenApp, startProvenApp } from './support/proofs.js'

const readme = readFileSync(path.join(__dirname, '../README.md'), 'utf8')

/** The shell lines of a section, in order, as a reader would paste them. */
function shellOf(section: string): string {
  const text = new RegExp(`^## ${section}\\n([\\s\\S]*?)^## `, 'm').exec(readme)?.[1] ?? ''
  return [...text.matchAll(/^```sh\n([\s\S]*?)^```/gm)].map((match) => match[1]).join('\n')
}

/** Without start-up files, which bash reads where its standard input looks like a network connection, as here. */
const BASH = ['--norc', '-euc'] as const

let proven: ProvenApp
let app: RunningApp
let folder: string

beforeAll(async () => {
  proven = await startProvenApp()
  app = proven.app
  folder = mkdtempSync(path.join(tmpdir(), 'agentguard-readme-'))
  mkdirSync(path.join(folder, '.data'))
  writeFileSync(path.join(folder, '.data/admin-key'), `${app.admin_key}\n`)
})

afterAll(async () => {
  await proven?.close()
  rmSync(folder, { recursive: true, force: true })
})

const paste = (script: string) =>
  promisify(execFile)('bash', [...BASH, script.replaceAll('localhost:8000', new URL(app.url).host)], {
    cwd: folder,
  })

describe('the README', () => {
  it('has a quickstart that works line by line and ends with the log', async () => {
    const script = shellOf('Quickstart')
    expect(script).toContain('/enforce')
    const { stdout } = await paste(script)
    expect(stdout).toContain('"reason":"Matched allow rule: read:file on *"')
    expect(stdout).toContain('"event":"action.reported"')
    expect(stdout).not.toContain('urn:agentguard:problem')
  })

  it('has commands that check the log offline, line by line', async () => {
    await proven.decide(20)
    await proven.signed()
    const script = shellOf('Check it yourself')
      .replaceAll('localhost:8000', new URL(app.url).host)
      .replaceAll('.data/', `${folder}/.data/`)
      .replaceAll('log.ndjson', `${folder}/log.ndjson`)
      // Other files run the command meanwhile: it is not taken away from them to be built the same again.
      .replace('build:sdk', 'build:sdk -- --if-changed')
    expect(script).toContain('verify')
    const { stdout } = await promisify(execFile)('bash', [...BASH, script], {
      cwd: path.join(__dirname, '..'),
    })
    expect(stdout.match(/^Result {3}VALID$/gm)).toHaveLength(2)
    expect(stdout).toMatch(/^Replay {3}[1-9]\d* the same, 0 different, 0 not replayable/m)
  })

  it('shows policies that compile', async () => {
    const [, policy = ''] = /^## Policies\n[\s\S]*?```json\n([\s\S]*?)```/m.exec(readme) ?? []
    const headers = { 'X-Admin-Key': app.admin_key, 'Content-Type': 'application/json' }
    const agent = await fetch(`${app.url}/agents`, {
      method: 'POST',
      headers,
      body: JSON.stringify({ name: 'a', owner_team: 't', environment: 'dev' }),
    })
    const { agent_id } = (await agent.json()) as { agent_id: string }
    const put = await fetch(`${app.url}/agents/${agent_id}/policy`, { method: 'PUT', headers, body: policy })
    expect(await put.json()).toMatchObject({ version: 1, deny: [{ action: 'delete:*' }] })
  })
})
