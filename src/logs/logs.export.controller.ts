import { pipeline } from 'node:stream/promises'
import { Controller, Get, Logger, Query, Req, Res } from '@nestjs/common'
import { ApiOkResponse, ApiTags } from '@nestjs/swagger'
import type { Request, Response } from 'express'
import { Access } from '../platform/access/access.decorator.js'
import { By, type Principal } from '../platform/access/principal.js'
import { errorField } from '../platform/http/error-code.js'
import { Limit } from '../platform/throttling/limit.decorator.js'
import { ExportLogsQuery } from './logs.export.dto.js'
import { LogsExportService } from './logs.export.service.js'

const text = { schema: { type: 'string' } }

@ApiTags('logs')
@Controller('logs')
export class LogsExportController {
  private readonly logger = new Logger(LogsExportController.name)

  constructor(private readonly exports: LogsExportService) {}

  /**
   * The log as a file, oldest entry first.
   *
   * `ndjson` is a bundle that anyone can check offline: entries, payloads, policies, checkpoint and keys, see
   * docs/verify.md. It holds every entry, so it needs `config-logs:read`. `json` and `csv` hold what `GET /logs` shows;
   * without `config-logs:read` that is decisions and reports. A text that a spreadsheet would run as a formula gets an
   * apostrophe in front. What is appended during the export is not in it. An answer that is cut off has no last line
   * (`ndjson`), no closing bracket (`json`), and no end of its transfer.
   */
  @Get('export')
  @Access('logs:read', 'admin', { within_team: true })
  @Limit('log_query')
  @ApiOkResponse({
    content: { 'application/x-ndjson': text, 'application/json': text, 'text/csv': text },
    headers: { 'Content-Disposition': text },
  })
  async export(
    @By() principal: Principal,
    @Query() query: ExportLogsQuery,
    @Req() request: Request,
    @Res() response: Response,
  ): Promise<void> {
    const { file_name, media_type, chunks } = await this.exports.export(principal, query)
    response.setHeader('Content-Type', media_type)
    response.setHeader('Content-Disposition', `attachment; filename="${file_name}"`)
    if (request.method === 'HEAD') {
      response.end()
      return
    }
    // Not awaited: from here on the answer has begun, and its deadline is the client's patience. The pipeline waits
    // for a slow client, stops reading when the client goes, and cuts the answer short when reading fails.
    void pipeline(chunks, response).catch((error: unknown) => {
      if (errorField(error, 'code') === 'ERR_STREAM_PREMATURE_CLOSE') return
      this.logger.warn({ err: error }, 'an export was cut off')
    })
  }
}
