import { Body, Controller, Get, Param, Post, Query, Req, Res } from '@nestjs/common'
import {
  ApiCreatedResponse,
  ApiExtraModels,
  ApiOkResponse,
  ApiParam,
  ApiProduces,
  ApiTags,
  getSchemaPath,
} from '@nestjs/swagger'
import type { Request, Response } from 'express'
import { Access } from '../platform/access/access.decorator.js'
import { ORGANIZATION_HEADER, singleHeader } from '../platform/access/credentials.js'
import { By, Maybe, type Principal } from '../platform/access/principal.js'
import { Settings } from '../platform/config/settings.js'
import { Limit } from '../platform/throttling/limit.decorator.js'
import {
  ConsistencyProof,
  ConsistencyQuery,
  Epoch,
  EntryProof,
  KeysQuery,
  StartEpoch,
  Verification,
  VerifierKey,
  VerifyQuery,
} from './proofs.dto.js'
import { ProofsService, type Reader } from './proofs.service.js'

const TEXT = 'text/plain; charset=utf-8'
const BYTES = 'application/octet-stream'
const OPEN = { open_with: 'ledger_public_proofs', within_team: true } as const
const YEAR_S = 365 * 24 * 3600

@ApiTags('proofs')
@Controller()
export class ProofsController {
  constructor(
    private readonly proofs: ProofsService,
    private readonly settings: Settings,
  ) {}

  /**
   * The newest checkpoint of the log.
   *
   * A signed note (C2SP tlog-checkpoint): the log's origin, its size, its root, and the signature. Made within two
   * seconds of an entry. With `LEDGER_PUBLIC_PROOFS` no credentials are needed; `X-Org-ID` then names the log.
   */
  @Get('ledger/checkpoint')
  @Access('logs:read', 'either', OPEN)
  @Limit('log_query')
  @ApiProduces('text/plain')
  @ApiOkResponse({ schema: { type: 'string' } })
  async checkpoint(
    @Maybe() principal: Principal | undefined,
    @Req() request: Request,
    @Res() response: Response,
  ): Promise<void> {
    send(response, TEXT, await this.proofs.checkpoint(readerOf(principal, request)))
  }

  /**
   * A tile of the log's tree, or a bundle of its entries (C2SP tlog-tiles).
   *
   * `<L>/<N>[.p/<W>]` for hashes, `entries/<N>[.p/<W>]` for entries, where N is in groups of three digits such as
   * `x001/234`. Only what the newest checkpoint covers. Entries need an administrator's `logs:read`. Tiles never
   * change within an epoch of the log: cache them, and drop the cache when the origin of the checkpoint changes.
   */
  @Get('ledger/tile/*path')
  @Access('logs:read', 'either', OPEN)
  @Limit('log_query')
  @ApiParam({ name: 'path', type: String, example: '0/000.p/12' })
  @ApiProduces(BYTES)
  @ApiOkResponse({ schema: { type: 'string', format: 'binary' } })
  async tile(
    @Maybe() principal: Principal | undefined,
    @Param('path') path: string | string[],
    @Req() request: Request,
    @Res() response: Response,
  ): Promise<void> {
    const name = `tile/${Array.isArray(path) ? path.join('/') : path.replaceAll(',', '/')}`
    const { bytes, tile } = await this.proofs.tile(readerOf(principal, request), name)
    const shared = this.settings.ledger_public_proofs && tile.kind === 'hashes'
    response.setHeader('Cache-Control', `${shared ? 'public' : 'private'}, max-age=${YEAR_S}, immutable`)
    send(response, BYTES, bytes)
  }

  /**
   * That the log only grew between two sizes.
   *
   * With a checkpoint you hold and a newer one: the hashes show that the newer log begins with the older one
   * (RFC 6962 2.1.2).
   */
  @Get('ledger/consistency')
  @Access('logs:read', 'either', OPEN)
  @Limit('log_query')
  consistency(
    @Maybe() principal: Principal | undefined,
    @Query() query: ConsistencyQuery,
    @Req() request: Request,
  ): Promise<ConsistencyProof> {
    return this.proofs.consistency(readerOf(principal, request), query)
  }

  /**
   * Read the whole log again and hold it against its checkpoints.
   *
   * Hashes every stored entry, compares columns, indexes, tiles and checkpoints, and names the first entry that is
   * wrong. An agent asks about its own entries, an administrator about one agent's or, without `agent_id`, the log.
   * It says what this service finds about itself; to trust nobody, fetch tiles and proofs and compute the same.
   */
  @Get('logs/verify')
  @Access('logs:read', 'either', { within_team: true })
  @Limit('log_query')
  verify(@By() principal: Principal, @Query() query: VerifyQuery): Promise<Verification> {
    return this.proofs.verify(principal, query.agent_id)
  }

  /**
   * The proof that an entry is in the log.
   *
   * A C2SP tlog-proof with the entry's bytes as its extra data; with `Accept: application/json` the same as JSON.
   * An agent gets those of its own entries. 503 with `Retry-After` until the next checkpoint covers the entry.
   */
  @Get('logs/:log_id/proof')
  @Access('logs:read', 'either', { within_team: true })
  @Limit('log_query')
  @ApiExtraModels(EntryProof)
  @ApiOkResponse({
    content: {
      'text/plain': { schema: { type: 'string' } },
      'application/json': { schema: { $ref: getSchemaPath(EntryProof) } },
    },
  })
  async entryProof(
    @By() principal: Principal,
    @Param('log_id') log_id: string,
    @Req() request: Request,
    @Res() response: Response,
  ): Promise<void> {
    const proof = await this.proofs.entryProof(principal, log_id)
    response.setHeader('Vary', 'Accept')
    if (request.accepts(['text/plain', 'application/json']) === 'application/json') response.json(proof)
    else send(response, TEXT, proof.proof)
  }

  /**
   * Begin a new signed history over the same entries.
   *
   * Needed once the signer's folder was lost, or a log was halted because it differs from what was signed. The entry
   * `epoch.started` records who did it and why, and the origin of later checkpoints ends with the new epoch.
   */
  @Post('ledger/epochs')
  @Access('ledger:write')
  @ApiCreatedResponse({ type: Epoch })
  startEpoch(@By() principal: Principal, @Body() body: StartEpoch): Promise<Epoch> {
    return this.proofs.startEpoch(principal, body)
  }

  /**
   * The keys that checkpoints are or were signed with.
   *
   * One key signs every log of the installation, under the installation's name and under the log's origin. `?name=`
   * gives the text of the keys under another name; it says nothing about whether such a log exists.
   */
  @Get('.well-known/agentguard-keys.json')
  @Access('public')
  @Limit('health')
  @ApiOkResponse({ type: [VerifierKey] })
  keys(@Query() { name }: KeysQuery): Promise<VerifierKey[]> {
    return this.proofs.keys(name)
  }
}

const readerOf = (principal: Principal | undefined, request: Request): Reader => ({
  principal,
  org_id: singleHeader(request, ORGANIZATION_HEADER),
})

function send(response: Response, type: string, body: string | Buffer): void {
  response.setHeader('Content-Type', type)
  response.end(body)
}
