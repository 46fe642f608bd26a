import { createHmac, randomUUID } from 'node:crypto'
import {
  createLocalJWKSet,
  decodeJwt,
  decodeProtectedHeader,
  exportJWK,
  exportSPKI,
  generateKeyPair,
  importJWK,
  type JSONWebKeySet,
  jwtVerify,
  SignJWT,
} from 'jose'
import { Client as Postgres } from 'pg'
import { SigningKeysService } from '../src/signing-keys/signing-keys.service.js'
import { type RunningApp, startApp } from './support/app.js'
import { MovedClock } from './support/clock.js'
import { type Answer, Client, type ProblemBody } from './support/client.js'

interface Made {
  access_token: string
  token_type: string
  expires_in: number
}
interface Bot {
  agent_id: string
  key_id: string
  api_key: string
}
interface Tenant {
  org_id: string
  admin_key: string
  admin_id: string
  admin: Client
}

const TYP = 'agentguard-access+jwt'

let app: RunningApp
let other: RunningApp
let owner: Postgres
let root: Client
let nobody: Client
let tenant: Tenant
let bot: Bot

beforeAll(async () => {
  app = await startApp()
  other = await startApp({ database: app.database, settings: { ledger_kek: app.settings.ledger_kek } })
  owner = new Postgres({ connectionString: app.database.owner_url })
  await owner.connect()
  root = new Client(app.url, { 'X-Admin-Key': app.admin_key })
  nobody = new Client(app.url)
})
afterAll(async () => {
  await owner?.end()
  await other?.close()
  await app?.close()
})
beforeEach(async () => {
  tenant = await makeTenant()
  bot = await makeBot(tenant.admin)
})

async function makeTenant(): Promise<Tenant> {
  const { org_id } = (await root.post<{ org_id: string }>('/organizations', { name: 'org' })).body
  const body = { name: 'admin', role: 'owner' }
  const made = await root.post<{ api_key: string; admin_id: string }>('/admin-keys', body, {
    'X-Org-ID': org_id,
  })
  const { api_key: admin_key, admin_id } = made.body
  return { org_id, admin_key, admin_id, admin: root.with({ 'X-Admin-Key': admin_key }) }
}

async function makeBot(admin: Client): Promise<Bot> {
  const agent = { name: 'bot', owner_team: 'ops', environment: 'prod' }
  const { body } = await admin.post<Bot>('/agents', agent)
  expect((await admin.put(`/agents/${body.agent_id}/policy`, { allow: [{ action: '*' }] })).status).toBe(200)
  return body
}

async function tokenFor(body: { agent_key?: string; admin_key?: string; alg?: string }): Promise<string> {
  const { status, body: made } = await nobody.post<Made>('/token', body)
  expect(status).toBe(200)
  return made.access_token
}
const bearer = (jwt: string, url = app.url): Client => new Client(url, { Authorization: `Bearer ${jwt}` })
const ask = (client: Client) => client.post<ProblemBody>('/enforce', { action: 'read', resource: 'a' })
const jwks = async (): Promise<JSONWebKeySet> =>
  (await nobody.get<JSONWebKeySet>('/.well-known/jwks.json')).body
const bytes = (answer: Answer<ProblemBody>): string => JSON.stringify({ ...answer.body, request_id: '' })

/** On both replicas: the status and what the refusal says. */
async function asked(jwt: string): Promise<string[]> {
  const answers = await Promise.all([app, other].map(({ url }) => ask(bearer(jwt, url))))
  return answers.map(({ status, body }) => (status === 200 ? 'allowed' : `${status} ${body.detail}`))
}
const ALLOWED = ['allowed', 'allowed']
const INVALID = ['401 Invalid or expired token', '401 Invalid or expired token']
const REVOKED = ['401 Token has been revoked', '401 Token has been revoked']

describe('POST /token', () => {
  it.each(['EdDSA', 'RS256'] as const)(
    'gives both kinds tokens that others can verify, by %s',
    async (alg) => {
      const set = await jwks()
      expect(JSON.stringify(set)).not.toMatch(/"(d|p|q|dp|dq|qi|sealed)":/)
      for (const [body, ttl, claims] of [
        [{ agent_key: bot.api_key }, 3600, { type: 'agent', sub: bot.agent_id, env: 'prod', team: 'ops' }],
        [
          { admin_key: tenant.admin_key },
          28_800,
          { type: 'admin', sub: tenant.admin_id, role: 'owner', team: null },
        ],
      ] as const) {
        const { body: made, headers } = await nobody.post<Made>('/token', { ...body, alg })
        expect(made).toEqual({
          access_token: expect.any(String) as string,
          token_type: 'bearer',
          expires_in: ttl,
        })
        expect(headers.get('Cache-Control')).toBe('no-store')
        const { payload, protectedHeader } = await jwtVerify(made.access_token, createLocalJWKSet(set))
        expect(protectedHeader).toEqual({ alg, typ: TYP, kid: expect.stringMatching(/^tsk_/) as string })
        expect(payload).toMatchObject({ ...claims, org_id: tenant.org_id })
        expect((payload.exp ?? 0) - (payload.iat ?? 0)).toBe(ttl)
        expect(payload.jti).toMatch(/^[0-9a-f-]{36}$/)
      }
      expect(await asked(await tokenFor({ agent_key: bot.api_key, alg }))).toEqual(ALLOWED)
      const admin = bearer(await tokenFor({ admin_key: tenant.admin_key, alg }))
      expect((await admin.get(`/agents/${bot.agent_id}`)).status).toBe(200)
    },
  )

  it('takes exactly one key, and answers a bad one as everywhere', async () => {
    for (const body of [{}, { agent_key: bot.api_key, admin_key: tenant.admin_key }]) {
      const { status, body: said } = await nobody.post<ProblemBody>('/token', body)
      expect([status, said.detail.startsWith("Provide either 'agent_key' or 'admin_key'")]).toEqual([
        400,
        true,
      ])
    }
    const usual = bytes(await root.with({ 'X-Admin-Key': 'nonsense' }).get('/agents'))
    const bad = ['nonsense', `agk_${'0'.repeat(49)}`, tenant.admin_key]
    for (const key of bad) expect(bytes(await nobody.post('/token', { agent_key: key }))).toBe(usual)
    for (const key of ['nonsense', bot.api_key]) {
      expect(bytes(await nobody.post('/token', { admin_key: key }))).toBe(usual)
    }
    for (const body of [{ agent_key: 1 }, { agent_key: '' }, { agent_key: bot.api_key, alg: 'none' }]) {
      expect((await nobody.post('/token', body)).status).toBe(422)
    }
  })

  it('gives the root key a token that works in any organization, until the root key is another', async () => {
    const jwt = await tokenFor({ admin_key: app.admin_key })
    const answer = await bearer(jwt).get(`/agents/${bot.agent_id}`, { 'X-Org-ID': tenant.org_id })
    expect([answer.status, (await bearer(jwt).get('/organizations')).status]).toEqual([200, 200])
    const { ledger_kek } = app.settings
    const settings = { ledger_kek, admin_api_key: 'another-root-key-of-the-installation-0123456789' }
    const changed = await startApp({ database: app.database, settings })
    try {
      expect((await bearer(jwt, changed.url).get('/organizations')).status).toBe(401)
    } finally {
      await changed.close()
    }
  })
})

describe('a bearer token', () => {
  it('is of one kind, and of one organization', async () => {
    const agent = bearer(await tokenFor({ agent_key: bot.api_key }))
    const admin = bearer(await tokenFor({ admin_key: tenant.admin_key }))
    const on_admin = await agent.get('/agents')
    expect([on_admin.status, on_admin.body.detail]).toEqual([403, 'Admin token required'])
    const on_agent = await ask(admin)
    expect([on_agent.status, on_agent.body.detail]).toEqual([403, 'Agent token required'])
    const foreign = await makeBot((await makeTenant()).admin)
    expect((await admin.get(`/agents/${foreign.agent_id}`)).status).toBe(404)
    expect((await admin.get('/agents', { 'X-Org-ID': 'org_default' })).status).toBe(404)
  })

  it('is looked at before the keys, which must be the one that it was made from', async () => {
    const jwt = await tokenFor({ agent_key: bot.api_key })
    const second = await makeBot(tenant.admin)
    const both = (headers: Record<string, string>, token = jwt) =>
      ask(new Client(app.url, { Authorization: `Bearer ${token}`, ...headers }))
    expect((await both({ 'X-Agent-Key': bot.api_key })).status).toBe(200)
    for (const headers of [
      { 'X-Agent-Key': second.api_key },
      { 'X-Agent-Key': 'nonsense' },
      { 'X-Admin-Key': tenant.admin_key },
      { 'X-Agent-Key': bot.api_key, 'X-Admin-Key': tenant.admin_key },
    ]) {
      const { status, body } = await both(headers as Record<string, string>)
      expect([status, body.code]).toEqual([400, 'credentials_disagree'])
    }
    expect((await both({ 'X-Agent-Key': bot.api_key }, 'nonsense')).body.code).toBe('invalid_token')
    // Another scheme is a proxy's business.
    const proxied = { Authorization: 'Basic eDp5', 'X-Agent-Key': bot.api_key }
    expect((await ask(new Client(app.url, proxied))).status).toBe(200)
  })
})

describe('a token ends', () => {
  const deaths: Record<string, () => Promise<unknown>> = {
    'with its key': () => tenant.admin.delete(`/agents/${bot.agent_id}/keys/${bot.key_id}`),
    'with its agent': () => tenant.admin.delete(`/agents/${bot.agent_id}`),
    'with its organization': () => root.patch(`/organizations/${tenant.org_id}`, { is_active: false }),
  }
  it.each(Object.keys(deaths))('%s, on the decision path too', async (name) => {
    // The agent has a second key: it is the token's own that counts.
    await tenant.admin.post(`/agents/${bot.agent_id}/keys`, {})
    const jwt = await tokenFor({ agent_key: bot.api_key })
    expect(await asked(jwt)).toEqual(ALLOWED)
    const answer = (await deaths[name]?.()) as Answer<unknown>
    expect(answer.status).toBeLessThan(300)
    // Where the agent is still in memory the append refuses, as it does for the key itself.
    const said = await asked(jwt)
    expect([said[0], said.map((text) => text.slice(0, 4))]).toEqual([INVALID[0], ['401 ', '401 ']])
    expect((await bearer(jwt).get('/logs')).status).toBe(401)
  })

  it('with its administrator key, and with the organization', async () => {
    const jwts = [await tokenFor({ admin_key: tenant.admin_key })]
    const second = await makeTenant()
    jwts.push(await tokenFor({ admin_key: second.admin_key }))
    for (const jwt of jwts) expect((await bearer(jwt).get('/agents')).status).toBe(200)
    await root.call('DELETE', `/admin-keys/${tenant.admin_id}`, { headers: { 'X-Org-ID': tenant.org_id } })
    await root.patch(`/organizations/${second.org_id}`, { is_active: false })
    for (const jwt of jwts) expect((await bearer(jwt).get('/agents')).body.code).toBe('invalid_token')
  })

  it('after as long as the operator says, by the clock, signed as the operator says', async () => {
    const clock = new MovedClock()
    const settings = { jwt_algorithm: 'RS256', jwt_agent_expire_s: 120, jwt_admin_expire_s: 60 } as const
    const short = await startApp({ database: app.database, clock, settings })
    try {
      for (const [body, lifetime_s] of [
        [{ agent_key: bot.api_key }, 120],
        [{ admin_key: tenant.admin_key }, 60],
      ] as const) {
        const made = (await new Client(short.url).post<Made>('/token', body)).body
        expect([made.expires_in, decodeProtectedHeader(made.access_token).alg]).toEqual([lifetime_s, 'RS256'])
        const asked: number[] = []
        for (const ahead_s of [0, lifetime_s - 30, lifetime_s + 1, 0]) {
          clock.ahead_ms = ahead_s * 1000
          asked.push((await bearer(made.access_token, short.url).get('/logs')).status)
        }
        expect(asked).toEqual([200, 200, 401, 200])
      }
    } finally {
      await short.close()
    }
  })

  it('when it is revoked, alone, and the log says so', async () => {
    const [jwt, spared] = [
      await tokenFor({ agent_key: bot.api_key }),
      await tokenFor({ agent_key: bot.api_key }),
    ]
    const without = await nobody
      .with({ 'X-Agent-Key': bot.api_key })
      .post<ProblemBody>('/token/revoke', undefined)
    expect([without.status, without.body.code]).toEqual([401, 'unauthenticated'])
    await owner.query(
      `INSERT INTO revoked_tokens (org_id, jti, expires_at) VALUES ($1, gen_random_uuid(), now() - interval '1 day')`,
      [tenant.org_id],
    )
    expect((await bearer(jwt).post('/token/revoke', undefined)).body).toEqual({ revoked: true })
    expect([await asked(jwt), await asked(spared)]).toEqual([REVOKED, ALLOWED])
    expect((await bearer(jwt).post('/token/revoke', undefined)).status).toBe(401)
    const { jti } = decodeJwt(jwt)
    const kept = await owner.query('SELECT jti FROM revoked_tokens WHERE org_id = $1', [tenant.org_id])
    expect(kept.rows).toEqual([{ jti }])
    expect((await tenant.admin.get('/logs?type=config')).text).toContain(String(jti))
  })
})

describe('rotation of the signing keys', () => {
  it('overlaps, is the operator’s, and is recorded', async () => {
    const jwt = await tokenFor({ agent_key: bot.api_key })
    const before = await jwks()
    expect((await tenant.admin.post('/token/keys/rotate', {})).status).toBe(403)
    expect((await root.post('/token/keys/rotate', {})).status).toBe(200)
    const after = await jwks()
    expect(after.keys).toHaveLength(before.keys.length + 2)
    expect(after.keys).toEqual(expect.arrayContaining(before.keys))
    const fresh = await tokenFor({ agent_key: bot.api_key })
    expect(decodeProtectedHeader(fresh).kid).not.toBe(decodeProtectedHeader(jwt).kid)
    expect([await asked(jwt), await asked(fresh)]).toEqual([ALLOWED, ALLOWED])
    expect((await root.get('/logs?type=config&limit=5')).text).toContain('token_signing_keys.rotated')
  })

  it('with end_tokens ends every token on every replica', async () => {
    const jwt = await tokenFor({ agent_key: bot.api_key })
    expect(await asked(jwt)).toEqual(ALLOWED)
    expect((await root.post('/token/keys/rotate', { end_tokens: true })).status).toBe(200)
    expect(await asked(jwt)).toEqual(INVALID)
    expect((await jwks()).keys).toHaveLength(2)
    expect(await asked(await tokenFor({ agent_key: bot.api_key }))).toEqual(ALLOWED)
  })

  it('keeps private halves sealed, and from the application’s own role', async () => {
    await jwks()
    const { rows } = await owner.query<{ sealed: string }>('SELECT sealed FROM token_signing_keys')
    expect(rows.length).toBeGreaterThan(1)
    for (const { sealed } of rows) expect(sealed).toMatch(/^v1\.[0-9a-f]{16}\./)
    const limited = new Postgres({ connectionString: app.database.app_url })
    await limited.connect()
    await expect(limited.query('SELECT sealed FROM token_signing_keys')).rejects.toThrow('permission denied')
    await limited.end()
  })
})

/** What a thief, a forger or a fuzzer might send. Each is signed as well as its maker can. */
async function forgeries(): Promise<Record<string, string>> {
  const genuine = await tokenFor({ agent_key: bot.api_key })
  const rsa = await tokenFor({ agent_key: bot.api_key, alg: 'RS256' })
  const keys = app.app.get(SigningKeysService)
  const ours = { EdDSA: await keys.signing('EdDSA'), RS256: await keys.signing('RS256') }
  const header = decodeProtectedHeader(genuine)
  const payload = decodeJwt(genuine)
  const [h = '', p = '', s = ''] = genuine.split('.')
  const [rh = '', rp = '', rs = ''] = rsa.split('.')
  const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url')
  const stranger = await generateKeyPair('EdDSA', { extractable: true })
  const strangerRsa = await generateKeyPair('RS256', { extractable: true })
  const set = await jwks()
  const pem = await exportSPKI(await rsaPublic(set, ours.RS256.kid))
  const hmac = (key: string | Buffer, head: object) => {
    const text = `${encode(head)}.${p}`
    return `${text}.${createHmac('sha256', key).update(text).digest('base64url')}`
  }
  /** Signed with our own key: only what it says is wrong. */
  const says = (
    change: Partial<Record<string, unknown>>,
    head: object = {},
    alg: 'EdDSA' | 'RS256' = 'EdDSA',
  ) =>
    new SignJWT({ ...payload, jti: randomUUID(), ...change })
      .setProtectedHeader({ alg, typ: TYP, kid: ours[alg].kid, ...head })
      .sign(ours[alg].key)
  const now = Math.floor(Date.now() / 1000)
  const flip = (text: string, at: number) =>
    text.slice(0, at) + (text[at] === 'A' ? 'B' : 'A') + text.slice(at + 1)
  const last = s.at(-1) ?? ''
  const twin = String.fromCharCode(last.charCodeAt(0) + 1)
  const jwk = await exportJWK(stranger.publicKey)
  const remote = 'https://attacker.example/keys'
  const made: Record<string, string> = {
    'alg none': `${encode({ ...header, alg: 'none' })}.${p}.`,
    'alg none, old signature': `${encode({ ...header, alg: 'none' })}.${p}.${s}`,
    'alg None': `${encode({ ...header, alg: 'None' })}.${p}.${s}`,
    'alg missing': `${encode({ typ: TYP, kid: header.kid })}.${p}.${s}`,
    'alg of another type': `${encode({ ...header, alg: 1 })}.${p}.${s}`,
    'HS256 with the public key as PEM': hmac(pem, { alg: 'HS256', typ: TYP, kid: ours.RS256.kid }),
    'HS256 with the public JWK': hmac(JSON.stringify(set.keys[0]), { ...header, alg: 'HS256' }),
    'HS256 with x': hmac(Buffer.from(set.keys.find(({ x }) => x)?.x ?? '', 'base64url'), {
      ...header,
      alg: 'HS256',
    }),
    'HS256 with nothing': hmac('', { ...header, alg: 'HS256' }),
    'RS256 named over EdDSA': `${encode({ ...header, alg: 'RS256' })}.${p}.${s}`,
    'EdDSA named over RS256': `${encode({ ...decodeProtectedHeader(rsa), alg: 'EdDSA' })}.${rp}.${rs}`,
    'kid of the other algorithm': await says({}, { kid: ours.RS256.kid }),
    'RS256 with the kid of EdDSA': await says({}, { kid: ours.EdDSA.kid }, 'RS256'),
    'PS256 over RS256': `${encode({ ...decodeProtectedHeader(rsa), alg: 'PS256' })}.${rp}.${rs}`,
    'Ed25519 named': `${encode({ ...header, alg: 'Ed25519' })}.${p}.${s}`,
    'a stranger’s key': await new SignJWT(payload)
      .setProtectedHeader({ alg: 'EdDSA', typ: TYP, kid: header.kid ?? '' })
      .sign(stranger.privateKey),
    'a stranger’s RSA key': await new SignJWT(payload)
      .setProtectedHeader({ alg: 'RS256', typ: TYP, kid: ours.RS256.kid })
      .sign(strangerRsa.privateKey),
    'a stranger’s key in jwk': await new SignJWT(payload)
      .setProtectedHeader({ alg: 'EdDSA', typ: TYP, kid: header.kid ?? '', jwk })
      .sign(stranger.privateKey),
    'typ JWT': await says({}, { typ: 'JWT' }),
    'typ at+jwt': await says({}, { typ: 'at+jwt' }),
    'typ with application/': await says({}, { typ: `application/${TYP}` }),
    'typ in capitals': await says({}, { typ: TYP.toUpperCase() }),
    'typ missing': await says({}, { typ: undefined }),
    'kid missing': await says({}, { kid: undefined }),
    'kid unknown': await says({}, { kid: 'tsk_0000000000000000' }),
    'kid empty': await says({}, { kid: '' }),
    'kid with a path': await says({}, { kid: '../../etc/passwd' }),
    'kid with SQL': await says({}, { kid: "x' OR 1=1 --" }),
    'kid with NUL': await says({}, { kid: 'tsk_\u0000' }),
    jku: await says({}, { jku: remote }),
    x5u: await says({}, { x5u: remote }),
    jwk: await says({}, { jwk }),
    x5c: await says({}, { x5c: ['AAAA'] }),
    'another member': await says({}, { zip: 'DEF' }),
    crit: `${encode({ ...header, crit: ['exp'] })}.${p}.${s}`,
    'iss of another': await says({ iss: 'urn:agentguard:00000000-0000-0000-0000-000000000000' }),
    'iss missing': await says({ iss: undefined }),
    'aud of another': await says({ aud: 'another' }),
    'aud missing': await says({ aud: undefined }),
    'sub missing': await says({ sub: undefined }),
    expired: await says({ exp: now - 1 }),
    'expired long ago': await says({ exp: 1 }),
    'exp missing': await says({ exp: undefined }),
    'exp as text': await says({ exp: String(now + 60) }),
    'not yet valid': await says({ nbf: now + 600 }),
    'nbf missing': await says({ nbf: undefined }),
    'iat missing': await says({ iat: undefined }),
    'jti missing': await says({ jti: undefined }),
    'jti no UUID': await says({ jti: "x'" }),
    'type unknown': await says({ type: 'root' }),
    'type missing': await says({ type: undefined }),
    'type changed, same key': await says({ type: 'admin' }),
    'organization of another': await says({ org_id: (await makeTenant()).org_id }),
    'organization that is none': await says({ org_id: 'org_none' }),
    'organization missing': await says({ org_id: undefined }),
    'organization with NUL': await says({ org_id: 'org_\u0000' }),
    'key that is none': await says({ key_id: 'key_none' }),
    'key of another type': await says({ key_id: 7 }),
    'key as a list': await says({ key_id: [payload.key_id] }),
    'key with NUL': await says({ key_id: 'key_\u0000' }),
    'header tampered': `${flip(h, 10)}.${p}.${s}`,
    'payload tampered': `${h}.${flip(p, 20)}.${s}`,
    'signature tampered': `${h}.${p}.${flip(s, 5)}`,
    'signature in another spelling': `${h}.${p}.${s.slice(0, -1)}${twin}`,
    'signature cut': `${h}.${p}.${s.slice(0, -2)}`,
    'signature empty': `${h}.${p}.`,
    'parts swapped': `${p}.${h}.${s}`,
    'payload of another token': `${h}.${rp}.${s}`,
    'header of another token': `${rh}.${p}.${s}`,
    'two parts': `${h}.${p}`,
    'four parts': `${genuine}.${s}`,
    'five parts': `${h}.${p}.${s}.${h}.${p}`,
    padding: `${genuine}=`,
    'header that is a list': `${encode([])}.${p}.${s}`,
    'header that is null': `${encode(null)}.${p}.${s}`,
    'header that is no JSON': `AAAA.${p}.${s}`,
    'payload that is no JSON': `${h}.AAAA.${s}`,
    'a space inside': `${h}. ${p}.${s}`,
    'two tokens': `${genuine} ${genuine}`,
    quotes: `"${genuine}"`,
    'a dot': '.',
    dots: '..',
    nothing: '',
    spaces: '   ',
    'a word': 'nonsense',
    'a key': bot.api_key,
    umlauts: 'äöü.äöü.äöü',
    'percent signs': '%2e%2e.%00.%ff',
    'huge payload': await says({ x: 'x'.repeat(5000) }),
    'huge nonsense': 'A'.repeat(7000),
    'huge parts': `${'A'.repeat(2000)}.${'A'.repeat(2000)}.${'A'.repeat(2000)}`,
  }
  return made
}

async function rsaPublic(set: JSONWebKeySet, kid: string) {
  const found = set.keys.find((key) => key.kid === kid)
  const key = await importJWK(found ?? {}, 'RS256')
  if (key instanceof Uint8Array) throw new Error('an RSA key was expected')
  return key
}

it('that is forged, malformed or out of time is one 401 with the same bytes, on both paths', async () => {
  const corpus = await forgeries()
  expect(Object.keys(corpus).length).toBeGreaterThanOrEqual(60)
  const wanted = bytes(await bearer('nonsense').get('/logs'))
  for (const [name, jwt] of Object.entries(corpus)) {
    const client = bearer(jwt)
    for (const answer of [await client.get('/logs'), await ask(client)]) {
      expect([name, answer.status, bytes(answer)]).toEqual([name, 401, wanted])
    }
  }
  expect(await asked(await tokenFor({ agent_key: bot.api_key }))).toEqual(ALLOWED)
})
