import {
  applyDecorators,
  Body,
  Controller,
  Get,
  Headers,
  HttpCode,
  Param,
  Post,
  Put,
  Query,
  Res,
  type Type,
} from '@nestjs/common'
import { ApiBody, ApiHeader, ApiParam, ApiSecurity, ApiTags } from '@nestjs/swagger'
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
import { Of, type PolicyOwner } from './policies.owner.js'
import { type Expected, PoliciesService } from './policies.service.js'

const ApiIfMatch = () =>
  ApiHeader({
    name: 'If-Match',
    required: false,
    description: 'Change the policy only if this is its version, in quotes as in `ETag`; otherwise 409.',
    schema: { type: 'string', example: '"3"' },
  })

/** The parameter in the path that names the owner. */
const ApiOwner = (name: string | null) =>
  applyDecorators(...(name === null ? [] : [ApiParam({ name, type: String })]))

/**
 * The routes of one kind of owner's policy. They are the same for all three; only the organization's are closed to who
 * is held to a team.
 */
function policyRoutes(path: string, parameter: 'agent_id' | 'team' | null): Type<object> {
  const options = parameter === null ? {} : ({ within_team: true } as const)

  @ApiTags('policies')
  @ApiSecurity('admin_key')
  @Controller(path)
  class PolicyRoutes {
    constructor(readonly policies: PoliciesService) {}

    /**
     * Replaces a policy as a whole and makes a new version of it.
     * @remarks Every mistake is reported at once with its path, and nothing is stored then. A document with the
     * content of the current version changes nothing and is answered with that version.
     */
    @Put()
    @Access('policies:write', 'admin', options)
    @LargeBody()
    @ApiOwner(parameter)
    @ApiBody({ type: PolicyDocument })
    @ApiIfMatch()
    async put(
      @By() principal: Principal,
      @Of() owner: PolicyOwner,
      // Not a DTO: the policy compiler validates it, and names every mistake with its path.
      @Body() document: unknown,
      @Headers('if-match') if_match: string | undefined,
      @Res({ passthrough: true }) response: Response,
    ): Promise<Policy> {
      return sendPolicy(response, await this.policies.put(principal, owner, document, readIfMatch(if_match)))
    }

    /** Gets the current policy, with its version as `ETag`. */
    @Get()
    @Access('policies:read', 'admin', options)
    @ApiOwner(parameter)
    async get(
      @By() principal: Principal,
      @Of() owner: PolicyOwner,
      @Res({ passthrough: true }) response: Response,
    ): Promise<Policy> {
      return sendPolicy(response, await this.policies.get(principal, owner))
    }

    /** Lists the versions of a policy, newest first, without their rules. */
    @Get('versions')
    @Access('policies:read', 'admin', options)
    @ApiOwner(parameter)
    @ApiPage(PolicyVersionSummary)
    async listVersions(
      @By() principal: Principal,
      @Of() owner: PolicyOwner,
      @Query() page: Page,
      @Res({ passthrough: true }) response: Response,
    ): Promise<PolicyVersionSummary[]> {
      return sendPage(response, await this.policies.listVersions(principal, owner, page))
    }

    /** Gets one version of a policy with its rules. */
    @Get('versions/:version')
    @Access('policies:read', 'admin', options)
    @ApiOwner(parameter)
    getVersion(
      @By() principal: Principal,
      @Of() owner: PolicyOwner,
      @Param('version') version: string,
    ): Promise<PolicyVersion> {
      return this.policies.getVersion(principal, owner, version)
    }

    /**
     * Makes a new version of a policy with the content of an old one.
     * @remarks The old content is compiled again first. Going back to what is current changes nothing and answers the
     * current version.
     */
    @Post('rollback')
    @HttpCode(200)
    @Access('policies:write', 'admin', options)
    @ApiOwner(parameter)
    @ApiIfMatch()
    async rollback(
      @By() principal: Principal,
      @Of() owner: PolicyOwner,
      @Body() { version }: RollbackPolicy,
      @Headers('if-match') if_match: string | undefined,
      @Res({ passthrough: true }) response: Response,
    ): Promise<Policy> {
      const expected = readIfMatch(if_match)
      return sendPolicy(response, await this.policies.rollback(principal, owner, version, expected))
    }
  }
  return PolicyRoutes
}

/** What one agent may do. */
export class PoliciesController extends policyRoutes('agents/:agent_id/policy', 'agent_id') {}

/** What holds for every agent of a team, beside its own policy. */
export class TeamPoliciesController extends policyRoutes('teams/:team/policy', 'team') {}

/** What holds for every agent of the organization, beside its own and its team's policy. */
export class OrganizationPoliciesController extends policyRoutes('organization/policy', null) {}

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
