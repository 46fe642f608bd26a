import { Injectable, Logger } from '@nestjs/common'
import * as oidc from 'openid-client'
import { Clock } from '../platform/clock/clock.js'
import { Outbound } from '../platform/outbound/outbound.service.js'

/** What is needed to talk to an identity provider. */
export interface Connection {
  readonly issuer: string
  readonly client_id: string
  readonly client_secret: string
}

/** What the browser keeps between leaving for the provider and coming back. */
export interface Journey {
  readonly state: string
  readonly nonce: string
  readonly code_verifier: string
}

/** A provider's own document is read again after so long. */
const DISCOVERED_MS = 10 * 60_000
const MAX_DISCOVERED = 1_000
const TIMEOUT_MS = 5_000
const SCOPE = 'openid email profile'

/**
 * The protocol: OpenID Connect Core 1.0, authorization code with PKCE (RFC 7636, S256), by openid-client. It checks
 * state, issuer, audience, authorized party, expiry and nonce; the signature too, although the token came over TLS.
 */
@Injectable()
export class Provider {
  private readonly logger = new Logger('sign-on')
  private readonly discovered = new Map<
    string,
    { until: number; configuration: Promise<oidc.Configuration> }
  >()

  constructor(
    private readonly outbound: Outbound,
    private readonly clock: Clock,
  ) {}

  /** What is wrong with an issuer, in words for who set it; null: it answers as it should. */
  async refusal(connection: Connection): Promise<string | null> {
    const { issuer } = connection
    if (/[?#]/.test(issuer)) return 'must have neither a query nor a fragment'
    const refusal = this.outbound.refusal(issuer)
    if (refusal !== null) return refusal
    try {
      await this.discover(connection)
      return null
    } catch (error) {
      this.logger.warn({ err: error }, 'an identity provider could not be discovered')
      return 'does not answer as an OpenID provider of this name (/.well-known/openid-configuration)'
    }
  }

  /** Where to send the browser, and what it must bring back. */
  async start(connection: Connection, redirect_uri: string): Promise<{ url: URL; journey: Journey }> {
    const configuration = await this.configuration(connection)
    const journey = {
      state: oidc.randomState(),
      nonce: oidc.randomNonce(),
      code_verifier: oidc.randomPKCECodeVerifier(),
    }
    const url = oidc.buildAuthorizationUrl(configuration, {
      redirect_uri,
      scope: SCOPE,
      state: journey.state,
      nonce: journey.nonce,
      code_challenge: await oidc.calculatePKCECodeChallenge(journey.code_verifier),
      code_challenge_method: 'S256',
    })
    return { url, journey }
  }

  /**
   * Exchanges the code and answers what the provider says of the person: the claims of the ID token, with those of the
   * userinfo endpoint for what it leaves out. Throws whenever any check fails.
   * @param came the URL that the browser came back to, as it was registered
   */
  async finish(connection: Connection, journey: Journey, came: URL): Promise<Record<string, unknown>> {
    const configuration = await this.configuration(connection)
    const tokens = await oidc.authorizationCodeGrant(configuration, came, {
      expectedState: journey.state,
      expectedNonce: journey.nonce,
      pkceCodeVerifier: journey.code_verifier,
      idTokenExpected: true,
    })
    const claims = tokens.claims()
    if (!claims) throw new Error('the provider gave no ID token')
    if (configuration.serverMetadata().userinfo_endpoint === undefined) return claims
    const more = await oidc.fetchUserInfo(configuration, tokens.access_token, claims.sub)
    return { ...more, ...claims }
  }

  private async configuration(connection: Connection): Promise<oidc.Configuration> {
    const name = JSON.stringify([connection.issuer, connection.client_id, connection.client_secret])
    const known = this.discovered.get(name)
    if (known && known.until > this.clock.now()) return known.configuration
    const configuration = this.discover(connection)
    const oldest = this.discovered.keys().next()
    if (this.discovered.size >= MAX_DISCOVERED && !oldest.done) this.discovered.delete(oldest.value)
    this.discovered.set(name, { until: this.clock.now() + DISCOVERED_MS, configuration })
    configuration.catch(() => this.discovered.delete(name))
    return configuration
  }

  private discover({ issuer, client_id, client_secret }: Connection): Promise<oidc.Configuration> {
    const url = new URL(issuer)
    // The one way out vets every address; it lets plain HTTP pass only for hosts that the operator listed.
    const execute = [oidc.enableNonRepudiationChecks]
    if (url.protocol === 'http:') execute.push(oidc.allowInsecureRequests)
    return oidc.discovery(url, client_id, client_secret, oidc.ClientSecretBasic(client_secret), {
      execute,
      timeout: TIMEOUT_MS / 1000,
      [oidc.customFetch]: (target, options) => this.fetch(target, options),
    })
  }

  private async fetch(url: string, { method, headers, body, signal }: oidc.CustomFetchOptions) {
    const sent = body === undefined || body === null ? '' : String(body as string | URLSearchParams)
    const {
      status,
      body: received,
      content_type,
    } = await this.outbound.exchange({
      url,
      method: method === 'POST' ? 'POST' : 'GET',
      headers,
      body: sent,
      timeout_ms: TIMEOUT_MS,
      ...(signal ? { signal } : {}),
    })
    return new Response(received, {
      status,
      headers: content_type === undefined ? {} : { 'content-type': content_type },
    })
  }
}
