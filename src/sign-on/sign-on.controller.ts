import { Body, Controller, Delete, Get, HttpCode, Put, Query, Req, Res } from '@nestjs/common'
import { ApiFoundResponse, ApiTags } from '@nestjs/swagger'
import type { Request, Response } from 'express'
import { Access } from '../platform/access/access.decorator.js'
import { By, type Principal } from '../platform/access/principal.js'
import { browserCookie, cookieOf } from '../platform/access/session-cookie.js'
import { Settings } from '../platform/config/settings.js'
import { keepSession, visitOf } from '../sign-in/browser.service.js'
import { PutSingleSignOn, SignOnCallback, SingleSignOn, StartSignOn } from './sign-on.dto.js'
import { JOURNEY_MINUTES, SignOnService } from './sign-on.service.js'

const JOURNEY = 'agentguard_sign_on'

@ApiTags('single-sign-on')
@Controller()
export class SignOnController {
  constructor(
    private readonly signOn: SignOnService,
    private readonly settings: Settings,
  ) {}

  /** Gets the connection to the organization's identity provider, without its secret. */
  @Get('organization/single-sign-on')
  @Access('organization:read')
  get(@By() principal: Principal): Promise<SingleSignOn> {
    return this.signOn.get(principal)
  }

  /**
   * Sets up or changes how people sign in through the organization's identity provider (OpenID Connect).
   * @remarks Only an owner or the root key may. The provider is asked for its configuration before anything is kept.
   */
  @Put('organization/single-sign-on')
  @Access('organization:write')
  put(@By() principal: Principal, @Body() body: PutSingleSignOn): Promise<SingleSignOn> {
    return this.signOn.put(principal, body)
  }

  /** Ends single sign-on. Sessions go on; people who never had a password need an invitation. */
  @Delete('organization/single-sign-on')
  @Access('organization:write')
  @HttpCode(204)
  delete(@By() principal: Principal): Promise<void> {
    return this.signOn.delete(principal)
  }

  /** Sends a browser to the identity provider of an organization. */
  @Get('auth/oidc/start')
  @Access('public')
  @ApiFoundResponse({ description: 'To the provider, with a cookie that is good for ten minutes.' })
  async start(
    @Query() { organization }: StartSignOn,
    @Req() request: Request,
    @Res({ passthrough: true }) response: Response,
  ): Promise<void> {
    const { url, journey } = await this.signOn.start(organization)
    const { name, attributes } = browserCookie(JOURNEY, request, this.settings)
    response.append('Set-Cookie', `${name}=${journey}; ${attributes}; Max-Age=${JOURNEY_MINUTES * 60}`)
    response.redirect(302, url)
  }

  /** Where the identity provider sends the browser back to: begins a session and leads to the dashboard. */
  @Get('auth/oidc/callback')
  @Access('public')
  @ApiFoundResponse({ description: 'To the dashboard, with the session cookie.' })
  async callback(
    @Query() _query: SignOnCallback,
    @Req() request: Request,
    @Res({ passthrough: true }) response: Response,
  ): Promise<void> {
    const { name, attributes } = browserCookie(JOURNEY, request, this.settings)
    // Taken back whatever comes of it: one journey, one try.
    response.append('Set-Cookie', `${name}=; ${attributes}; Max-Age=0`)
    const query = URL.parse(request.url, 'http://localhost')?.search ?? ''
    const visit = visitOf(request, this.settings)
    const { token } = await this.signOn.finish(cookieOf(request, name), query, visit)
    keepSession(request, response, this.settings, token)
    response.redirect(302, `${this.settings.public_url ?? ''}/dashboard/`)
  }
}
