import { Body, Controller, Get, Headers, HttpCode, Param, Post, Put, Query, Res } from '@nestjs/common'
import { ApiBody, ApiHeader, ApiSecurity, ApiTags } from '@nestjs/swagger'
import type { Response } from 'express'
import { Problem } from '../core/problems.js'
import { Access } from '../platform/access/access.decorator.js'
import { By, type Principal } from '../platform/access/principal.js'
import { LargeBody } from '../platform/http/input.interceptor.js'
import { ApiPage, Page, sendPage } from '../platform/http/page.dto.js'
import {
  Policy,
  PolicyDocument,
  PolicyVersion,
  PolicyVersionSummary,
  RollbackPolicy,
} from './policies.dto.js'
import { type Expected, PoliciesService } from './policies.service.js'

const ApiIfMatch = () =>
  ApiHeader({
    name: 'If-Match',
    required: false,
    description: 'Change the policy only if this is its version, in quotes as in `ETag`; otherwise 409.',
    schema: { type: 'string', example: '"3"' },
  })

@ApiTags('policies')
@ApiSecurity('admin_key')
@Controller('agents/:agent_id/policy')
export class PoliciesController {
  constructor(private readonly policies: PoliciesService) {}

  /**
   * Replaces an agent's policy as a whole and makes a new version of it.
   * @remarks Every mistake is reported at once with its path, and nothing is stored then. A document with the content
   * of the current version changes nothing and is answered with that version.
   */
  @Put()
  @Access('policies:write')
  @LargeBody()
  @ApiBody({ type: PolicyDocument })
  @ApiIfMatch()
  async put(
    @By() principal: Principal,
    @Param('agent_id') agent_id: string,
    // Not a DTO: the policy compiler validates it, and names every mistake with its path.
    @Body() document: unknown,
    @Headers('if-match') if_match: string | undefined,
    @Res({ passthrough: true }) response: Response,
  ): Promise<Policy> {
    return sendPolicy(response, await this.policies.put(principal, agent_id, document, readIfMatch(if_match)))
  }

  /** Gets an agent's current policy, with its version as `ETag`. */
  @Get()
  @Access('policies:read')
  async get(
    @By() principal: Principal,
    @Param('agent_id') agent_id: string,
    @Res({ passthrough: true }) response: Response,
  ): Promise<Policy> {
    return sendPolicy(response, await this.policies.get(principal, agent_id))
  }

  /** Lists the versions of an agent's policy, newest first, without their rules. */
  @Get('versions')
  @Access('policies:read')
  @ApiPage(PolicyVersionSummary)
  async listVersions(
    @By() principal: Principal,
    @Param('agent_id') agent_id: string,
    @Query() page: Page,
    @Res({ passthrough: true }) response: Response,
  ): Promise<PolicyVersionSummary[]> {
    return sendPage(response, await this.policies.listVersions(principal, agent_id, page))
  }

  /** Gets one version of an agent's policy with its rules. */
  @Get('versions/:version')
  @Access('policies:read')
  getVersion(
    @By() principal: Principal,
    @Param('agent_id') agent_id: string,
    @Param('version') version: string,
  ): Promise<PolicyVersion> {
    return this.policies.getVersion(principal, agent_id, version)
  }

  /**
   * Makes a new version of an agent's policy with the content of an old one.
   * @remarks The old content is compiled again first. Going back to what is current changes nothing and answers the
   * current version.
   */
  @Post('rollback')
  @HttpCode(200)
  @Access('policies:write')
  @ApiIfMatch()
  async rollback(
    @By() principal: Principal,
    @Param('agent_id') agent_id: string,
    @Body() { version }: RollbackPolicy,
    @Headers('if-match') if_match: string | undefined,
    @Res({ passthrough: true }) response: Response,
  ): Promise<Policy> {
    const expected = readIfMatch(if_match)
    return sendPolicy(response, await this.policies.rollback(principal, agent_id, version, expected))
  }
}

/** The version as the entity tag (RFC 9110 8.8.3), for `If-Match`. */
function sendPolicy(response: Response, policy: Policy): Policy {
  response.setHeader('ETag', `"${policy.version}"`)
  return policy
}

/** RFC 9110 13.1.1, for the one strong tag that a policy has. */
function readIfMatch(value: string | undefined): Expected {
  if (value === undefined) return undefined
  if (value === '*') return 'any'
  const version = /^"([1-9]\d{0,9})"$/.exec(value)?.[1]
  if (version !== undefined) return Number(version)
  throw new Problem('validation_failed', {
    errors: [{ path: 'If-Match', message: 'must be one version in quotes, such as "3", or *' }],
  })
}
