import { createServer, type IncomingMessage, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import Provider, { type Configuration } from 'oidc-provider'
import { exportJWK, generateKeyPair, type JWTPayload, SignJWT, UnsecuredJWT } from 'jose'

export const CLIENT = { client_id: 'agentguard', client_secret: 'a-secret-of-the-client-0123456789' }

/** What the provider says of its people, by `sub`. */
export type People = Record<string, Record<string, unknown>>

async function listening(server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

const closing = (server: Server): Promise<void> =>
  new Promise((resolve) => {
    server.close(() => resolve())
    server.closeAllConnections()
  })

/** A real OpenID provider, certified elsewhere: whoever types a name is signed in as it. */
export async function startIdentityProvider(people: People, redirect_uri: string) {
  const server = createServer()
  const issuer = await listening(server)
  const configuration: Configuration = {
    clients: [
      { ...CLIENT, redirect_uris: [redirect_uri], token_endpoint_auth_method: 'client_secret_basic' },
      { ...CLIENT, client_id: 'another', redirect_uris: [redirect_uri] },
    ],
    cookies: { keys: ['of the tests'] },
    claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name', 'groups'] },
    pkce: { required: () => true },
    findAccount: (_, sub) => ({ accountId: sub, claims: () => ({ sub, ...people[sub] }) }),
    // Consent is given: what people click on at their provider is not what is tested.
    loadExistingGrant: async ({ oidc }) => {
      const accountId = oidc.session?.accountId ?? ''
      const grant = new oidc.provider.Grant({ clientId: oidc.client?.clientId ?? '', accountId })
      grant.addOIDCScope('openid email profile')
      await grant.save()
      return grant
    },
  }
  const provider = new Provider(issuer, configuration)
  server.on('request', (request, response) => void provider.callback()(request, response))
  return { issuer, close: () => closing(server), visit: (url: string, sub: string) => visit(url, sub) }
}

/** What a browser does there: follows redirects within the provider, types the name. @returns where it is sent back to */
async function visit(start: string, sub: string): Promise<URL> {
  const { origin } = new URL(start)
  const cookies = new Map<string, string>()
  let url = new URL(start)
  let body: string | null = null
  for (let step = 0; step < 10; step++) {
    const answer: Response = await fetch(url, {
      method: body === null ? 'GET' : 'POST',
      redirect: 'manual',
      headers: {
        cookie: [...cookies].map((pair) => pair.join('=')).join('; '),
        ...(body === null ? {} : { 'content-type': 'application/x-www-form-urlencoded' }),
      },
      body,
    })
    for (const cookie of answer.headers.getSetCookie()) {
      const [name = '', value = ''] = (cookie.split(';')[0] ?? '').split(/=(.*)/s)
      cookies.set(name, value)
    }
    body = null
    const location = answer.headers.get('location')
    if (location !== null) {
      url = new URL(location, url)
      if (url.origin !== origin) return url
    } else if (url.pathname.startsWith('/interaction/')) {
      body = new URLSearchParams({ prompt: 'login', login: sub, password: 'x' }).toString()
    } else throw new Error(`the provider answered ${answer.status}: ${await answer.text()}`)
  }
  throw new Error('the provider never sent the browser back')
}

/** What a token of the lying provider says, and how it is signed. */
export interface Lie {
  readonly claims?: JWTPayload
  readonly signed?: 'with another key' | 'not at all'
}

/** A provider that says whatever a test wants, to show what is not believed. */
export async function startLyingProvider() {
  const [own, other] = [await generateKeyPair('RS256'), await generateKeyPair('RS256')]
  const keys = { keys: [{ ...(await exportJWK(own.publicKey)), kid: 'one', alg: 'RS256', use: 'sig' }] }
  let nonce = ''
  let lie: Lie = {}
  const server = createServer()
  const issuer = await listening(server)
  const token = async (): Promise<string> => {
    const now = Math.floor(Date.now() / 1000)
    const claims = {
      ...{ iss: issuer, sub: 'liar', aud: CLIENT.client_id, iat: now, exp: now + 300, nonce },
      ...{ email: 'liar@example.com', email_verified: true, name: 'A Liar' },
      ...lie.claims,
    }
    if (lie.signed === 'not at all') return new UnsecuredJWT(claims).encode()
    const { privateKey } = lie.signed === undefined ? own : other
    return new SignJWT(claims).setProtectedHeader({ alg: 'RS256', kid: 'one' }).sign(privateKey)
  }
  const answer = async ({ url }: IncomingMessage): Promise<unknown> => {
    if (url === '/jwks') return keys
    if (url === '/token') {
      return { access_token: 'x', token_type: 'Bearer', expires_in: 60, id_token: await token() }
    }
    return {
      issuer,
      authorization_endpoint: `${issuer}/authorize`,
      token_endpoint: `${issuer}/token`,
      jwks_uri: `${issuer}/jwks`,
      response_types_supported: ['code'],
      id_token_signing_alg_values_supported: ['RS256'],
    }
  }
  server.on('request', (request, response) => {
    void answer(request).then((body) => {
      response.setHeader('content-type', 'application/json')
      response.end(JSON.stringify(body))
    })
  })
  return {
    issuer,
    close: () => closing(server),
    /** From now on it says this, to whoever comes with that nonce. */
    tell: (next: Lie, at: URL) => {
      lie = next
      nonce = at.searchParams.get('nonce') ?? ''
    },
  }
}
