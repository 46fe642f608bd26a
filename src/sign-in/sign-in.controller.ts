import { Body, Controller, Delete, Get, HttpCode, Param, Post, Req, Res } from '@nestjs/common'
import { ApiTags } from '@nestjs/swagger'
import type { Request, Response } from 'express'
import { Problem } from '../core/problems.js'
import { Access } from '../platform/access/access.decorator.js'
import { By, Person, type AdminPrincipal, type MemberPrincipal } from '../platform/access/principal.js'
import { foreignOrigin } from '../platform/access/session-cookie.js'
import { Settings } from '../platform/config/settings.js'
import { visitOf, forgetSession, keepSession } from './browser.service.js'
import { ChangePassword, Login, Me, Session } from './sign-in.dto.js'
import { SignInService } from './sign-in.service.js'

@ApiTags('auth')
@Controller('auth')
export class SignInController {
  constructor(
    private readonly signIn: SignInService,
    private readonly settings: Settings,
  ) {}

  /**
   * Signs a person in with email and password.
   * @remarks The answer sets the session cookie: HttpOnly, Secure but on http://localhost, for 30 minutes without use and
   * 12 hours at most. Failures make the next try wait, by account and by address (429 with `Retry-After`).
   */
  @Post('login')
  @Access('public')
  @HttpCode(200)
  async login(
    @Body() body: Login,
    @Req() request: Request,
    @Res({ passthrough: true }) response: Response,
  ): Promise<Me> {
    const foreign = foreignOrigin(request, this.settings)
    if (foreign !== null) throw new Problem('csrf_refused', { detail: foreign })
    const begun = await this.signIn.login(body, visitOf(request, this.settings))
    keepSession(request, response, this.settings, begun.token)
    return this.signIn.me(begun.principal)
  }

  /** Signs out: the session ends, and the cookie is taken back. */
  @Post('logout')
  @Access('self', 'member')
  @HttpCode(204)
  async logout(
    @Person() principal: MemberPrincipal,
    @Req() request: Request,
    @Res({ passthrough: true }) response: Response,
  ): Promise<void> {
    await this.signIn.logout(principal)
    forgetSession(request, response, this.settings)
  }

  /** Who is asking, in which organization, and what they may do. */
  @Get('me')
  @Access('self')
  me(@By() principal: AdminPrincipal): Promise<Me> {
    return this.signIn.me(principal)
  }

  /** Lists the browsers in which this person is signed in, newest first. */
  @Get('sessions')
  @Access('self', 'member')
  sessions(@Person() principal: MemberPrincipal): Promise<Session[]> {
    return this.signIn.listSessions(principal)
  }

  /** Signs one of this person's browsers out. */
  @Delete('sessions/:session_id')
  @Access('self', 'member')
  @HttpCode(204)
  endSession(@Person() principal: MemberPrincipal, @Param('session_id') session_id: string): Promise<void> {
    return this.signIn.endSession(principal, session_id)
  }

  /** Changes this person's own password; their other sessions end. */
  @Post('password')
  @Access('self', 'member')
  @HttpCode(204)
  changePassword(
    @Person() principal: MemberPrincipal,
    @Body() body: ChangePassword,
    @Req() request: Request,
  ): Promise<void> {
    return this.signIn.changePassword(principal, body, request.ip)
  }
}
