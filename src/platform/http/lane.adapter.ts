import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import type { NestApplicationOptions } from '@nestjs/common'
import { ExpressAdapter } from '@nestjs/platform-express'

/** A short way past Express for requests of one ordinary shape. */
export interface Lane {
  /** Takes over the request: it is answered here, or given to `express` as if nobody had looked at it. */
  take(request: IncomingMessage, response: ServerResponse, express: RequestListener): void
}

/**
 * Express as Nest knows it, with a lane in front: whoever opens one sees every request first. Without a lane the
 * server is Nest's own.
 */
export class LaneAdapter extends ExpressAdapter {
  private lane: Lane | undefined

  override initHttpServer(options: NestApplicationOptions): void {
    super.initHttpServer(options)
    const express = this.getInstance<RequestListener>()
    this.httpServer.off('request', express)
    this.httpServer.on('request', (request: IncomingMessage, response: ServerResponse) => {
      if (this.lane) this.lane.take(request, response, express)
      else express(request, response)
    })
  }

  open(lane: Lane): void {
    this.lane = lane
  }
}
