import { Body, Controller, Get, Header, HttpCode, Post, Req } from '@nestjs/common'
import { ApiBearerAuth, ApiOkResponse, ApiTags } from '@nestjs/swagger'
import type { Request } from 'express'
import type { JWK } from 'jose'
import { Problem } from '../core/problems.js'
import { Access } from '../platform/access/access.decorator.js'
import { credentialsOf } from '../platform/access/credentials.js'
import { Gatekeeper } from '../platform/access/gatekeeper.js'
import { By, type Principal } from '../platform/access/principal.js'
import { idOf } from '../platform/http/request-id.js'
import { Limit } from '../platform/throttling/limit.decorator.js'
import { AccessToken, CreateToken, RevokedToken, RotateSigningKeys, SigningKey } from './tokens.dto.js'
import { TokensService } from './tokens.service.js'

@ApiTags('tokens')
@Controller()
export class TokensController {
  constructor(
    private readonly tokens: TokensService,
    private readonly gatekeeper: Gatekeeper,
  ) {}

  /**
   * Makes a token from a key.
   * @remarks Send it as `Authorization: Bearer …` wherever the key is accepted. It ends after `expires_in` seconds
   * (3600 for agents and 28800 for administrators unless the operator says otherwise), when it is revoked, and at once when its key, agent or organization ends.
   */
  @Post('token')
  // Public to the guard, because the key is in the body: the gatekeeper judges it, and counts failures, as in a header.
  @Access('public')
  @HttpCode(200)
  @Header('Cache-Control', 'no-store')
  async create(@Body() body: CreateToken, @Req() request: Request): Promise<AccessToken> {
    const { agent_key: agent, admin_key: admin, alg } = body
    if ((agent === undefined) === (admin === undefined)) {
      const detail = "Provide either 'agent_key' or 'admin_key'"
      throw new Problem('bad_request', { detail: agent === undefined ? detail : `${detail}, not both` })
    }
    const rule = { permission: 'self', by: agent === undefined ? 'admin' : 'agent' } as const
    const principal = await this.gatekeeper.admit(rule, { agent, admin, org_id: undefined }, request.ip)
    return this.tokens.create(principal, alg)
  }

  /** Ends the token that this request carries. */
  @Post('token/revoke')
  // Public to the guard, because only a token will do here: the gatekeeper is asked below.
  @Access('public')
  @HttpCode(200)
  @ApiBearerAuth('bearer')
  async revoke(@Req() request: Request): Promise<RevokedToken> {
    const credentials = credentialsOf(request)
    if (credentials.bearer === undefined) {
      throw new Problem('unauthenticated', { detail: 'Send the token as Authorization: Bearer.' })
    }
    const rule = { permission: 'self', by: 'either' } as const
    const principal = await this.gatekeeper.admit(rule, credentials, request.ip)
    return this.tokens.revoke({ ...principal, request_id: idOf(request) }, credentials.bearer)
  }

  /**
   * Makes new keys for signing tokens.
   * @remarks The keys before go on verifying what they have signed, until the longest token has ended; with
   * `end_tokens` every token made so far ends at once. Recorded in the default organization's log.
   */
  @Post('token/keys/rotate')
  @Access('organizations:write')
  @HttpCode(200)
  @ApiOkResponse({ type: [SigningKey] })
  rotateKeys(@By() principal: Principal, @Body() body: RotateSigningKeys): Promise<SigningKey[]> {
    return this.tokens.rotate(principal, body.end_tokens ?? false)
  }

  /** The public keys that tokens are verified with (RFC 7517). */
  @Get('.well-known/jwks.json')
  @Access('public')
  @Limit('health')
  @ApiOkResponse({
    schema: {
      type: 'object',
      required: ['keys'],
      properties: { keys: { type: 'array', items: { type: 'object', additionalProperties: true } } },
    },
  })
  jwks(): Promise<{ keys: JWK[] }> {
    return this.tokens.jwks()
  }
}
