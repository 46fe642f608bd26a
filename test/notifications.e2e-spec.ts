import { SMTPServer } from 'smtp-server'
import type { AddressInfo } from 'node:net'
import { LedgerService } from '../src/ledger/ledger.service.js'
import { Database } from '../src/platform/database/database.service.js'
import { ROOT_PERMISSIONS } from '../src/core/permissions.js'
import { type RunningApp, startApp } from './support/app.js'
import { Client } from './support/client.js'
import { until } from './support/proofs.js'
import { Receiver } from './support/receiver.js'

interface Letter {
  readonly to: string[]
  readonly text: string
}

const letters: Letter[] = []
let refuse = false
let smtp: SMTPServer
let slack: Receiver
let app: RunningApp
let root: Client
const APPROVAL_ID = 'apr_0123456789abcdef'

beforeAll(async () => {
  smtp = new SMTPServer({
    authOptional: true,
    disabledCommands: ['STARTTLS'],
    onData(stream, session, done) {
      const chunks: Buffer[] = []
      stream.on('data', (chunk: Buffer) => chunks.push(chunk))
      stream.on('end', () => {
        if (refuse) return done(Object.assign(new Error('try later'), { responseCode: 451 }))
        letters.push({
          to: session.envelope.rcptTo.map(({ address }) => address),
          text: Buffer.concat(chunks).toString().replace(/=\r\n/g, '').replace(/=3D/g, '='),
        })
        done()
      })
    },
  })
  await new Promise<void>((resolve) => smtp.listen(0, '127.0.0.1', resolve))
  slack = await Receiver.start((response) => response.end('ok'))
  const { port } = smtp.server.address() as AddressInfo
  app = await startApp({
    settings: {
      outbound_allow: ['127.0.0.1'],
      smtp_url: `smtp://127.0.0.1:${port}`,
      smtp_from: 'AgentGuard <agentguard@example.com>',
    },
  })
  root = new Client(app.url, { 'X-Admin-Key': app.admin_key })
})

afterAll(async () => {
  await app?.close()
  await slack?.close()
  await new Promise<void>((resolve) => smtp.close(() => resolve()))
})

const RULE = {
  policy: 'pol_0123456789abcdef',
  action: 'transfer*',
  resource: 'accounts/**',
  workflow: null,
  request: '{"/arguments/amount":{"min":1000}}',
}

/** What the approvals capability records when a decision waits for a person. */
const approvalRequested = (resource: string) =>
  app.app.get(Database).withOrg({ org_id: 'org_default' }, (tx) =>
    app.app.get(LedgerService).append(
      tx,
      { kind: 'root', org_id: 'org_default', permissions: ROOT_PERMISSIONS },
      {
        event: 'approval.requested',
        subject: { agent_id: 'agt_0123456789abcdef', environment: 'prod', team: 'payments' },
        action: { raw: 'transfer', key: 'transfer' },
        resource: { raw: resource, key: 'accounts' },
        approval: { id: APPROVAL_ID, op: 'requested', lifts: [RULE, { ...RULE, action: 'transfer' }] },
      },
    ),
  )

const email = {
  recipients: ['one@example.com', 'two@example.com'],
  events: ['approval.requested', 'kill_switch.*'],
}

it('tells people by e-mail and chat, with a link to the exact request that decides nothing by itself', async () => {
  const put = await root.put<{ slack: object }>('/organization/notifications', {
    email,
    slack: { url: slack.url, events: ['approval.*'] },
  })
  expect([put.status, put.text]).toEqual([200, put.text])
  expect(put.text).not.toContain('/hook')
  await approvalRequested('accounts/7\r\nSign in to decide: https://evil.example/')
  const [letter] = await until(async () => (letters.length > 0 ? letters : null))
  const link = `https://agentguard.test/dashboard/approvals/view?id=${APPROVAL_ID}`
  expect(letter!.to).toEqual(email.recipients)
  expect(letter!.text).toContain('Subject: [AgentGuard] An agent waits for an approval')
  expect(letter!.text).toContain(`Sign in to decide: ${link}`)
  expect(letter!.text).toContain(
    'Rule: transfer* on accounts/** (and 1 more) when {"/arguments/amount":{"min":1000}}',
  )
  // What the agent wrote stays one line of facts.
  expect(letter!.text.split('\r\n').filter((line) => line.startsWith('Sign in to decide'))).toHaveLength(1)
  const [message] = await slack.arrived(1)
  const blocks = (message!.body as unknown as { blocks: { type: string; elements?: { url: string }[] }[] })
    .blocks
  expect(blocks.map(({ type }) => type)).toEqual(['header', 'section', 'actions'])
  expect(blocks[2]!.elements![0]!.url).toBe(link)
  expect(message!.text).not.toContain('mrkdwn')
  // The path of the link serves nobody who has not signed in, and nothing in it is a credential.
  expect(new URL(link).search).toBe(`?id=${APPROVAL_ID}`)
})

it('keeps the chat’s URL sealed and unseen, and keeps it when it is not sent again', async () => {
  const put = await root.put('/organization/notifications', {
    email: null,
    slack: { events: ['kill_switch.*'] },
  })
  expect([put.status, put.text]).toEqual([200, put.text])
  const shown = await root.get<{ slack: { host: string }; email: null }>('/organization/notifications')
  expect(shown.body).toMatchObject({
    email: null,
    slack: { host: new URL(slack.url).host, events: ['kill_switch.*'] },
  })
  const log = await root.get('/logs?type=config')
  expect(log.text).toContain('notifications.updated')
  expect(log.text + shown.text).not.toContain('/hook')
})

it('tries again when the mail server fails, and loses nothing', async () => {
  refuse = true
  letters.length = 0
  await root.put('/organization/notifications', { email, slack: null })
  await approvalRequested('accounts/8')
  const { Client: Postgres } = await import('pg')
  const owner = new Postgres({ connectionString: app.database.owner_url })
  await owner.connect()
  await until(async () => {
    const { rows } = await owner.query(
      "SELECT FROM deliveries WHERE destination_id = 'ntf_email' AND status = 'pending' AND response_status = 451",
    )
    return rows.length === 1 ? true : null
  })
  expect(letters).toEqual([])
  refuse = false
  await owner.query("UPDATE deliveries SET next_attempt_at = now() - interval '1 s' WHERE status = 'pending'")
  await owner.end()
  const [letter] = await until(async () => (letters.length > 0 ? letters : null))
  expect(letter!.text).toContain('Resource: accounts/8')
})

it('refuses what cannot work, and says why', async () => {
  const refused = async (body: object) => {
    const { status, body: problem } = await root.put('/organization/notifications', body)
    return [status, problem.errors?.map(({ path }) => path).join()]
  }
  expect((await refused({ email }))[0]).toBe(422)
  expect(
    await refused({ email: { ...email, recipients: ['one@example.com, two@example.com'] }, slack: null }),
  ).toEqual([422, 'email.recipients'])
  expect((await refused({ email: { ...email, recipients: ['a@b.c\r\nBcc: x@y.z'] }, slack: null }))[0]).toBe(
    422,
  )
  expect((await refused({ email: null, slack: { url: 'https://169.254.169.254/', events: ['*'] } }))[1]).toBe(
    'slack.url',
  )
  expect((await refused({ email: 'all', slack: null }))[0]).toBe(422)
  expect((await refused({ email: null, slack: { events: ['*'], url: null } }))[0]).toBe(422)
})

it('needs an SMTP server for e-mail', async () => {
  const other = await startApp()
  try {
    const client = new Client(other.url, { 'X-Admin-Key': other.admin_key })
    const answer = await client.put('/organization/notifications', { email, slack: null })
    expect([answer.status, answer.body.errors?.[0]?.message]).toEqual([
      422,
      'cannot be used: the operator has set no SMTP server (SMTP_URL)',
    ])
  } finally {
    await other.close()
  }
})
