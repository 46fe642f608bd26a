import { Controller, Get, Query, Req, Res } from '@nestjs/common'
import { ApiHeader, ApiOkResponse, ApiProduces, ApiTags } from '@nestjs/swagger'
import type { Request, Response } from 'express'
import { Problem } from '../core/problems.js'
import { Access } from '../platform/access/access.decorator.js'
import { By, type Principal } from '../platform/access/principal.js'
import { Admission } from './admission.js'
import { EventsQuery, LiveEventDto } from './events.dto.js'
import { EventsService } from './events.service.js'
import type { LiveEvent } from './live-event.js'
import type { Ending, Sink } from './subscriber.js'

/** When clients come back after the connection ended: not all at once with a restart. */
const RETRY_MS = 2_000

@ApiTags('events')
@Controller('events')
export class EventsController {
  constructor(
    private readonly events: EventsService,
    private readonly admission: Admission,
  ) {}

  /**
   * Live events of the organization's log, as server-sent events.
   * @remarks Each event's `id` is its index in the log: a client that comes back with `Last-Event-ID` gets everything
   * since, once. What can be erased (arguments, context) is not in it. An event `end` says why the stream ends.
   */
  @Get()
  @Access('events:read', 'either', { within_team: true })
  @ApiHeader({ name: 'Last-Event-ID', required: false, description: 'Go on after the event with this id.' })
  @ApiProduces('text/event-stream')
  @ApiOkResponse({ type: LiveEventDto })
  async stream(
    @By() principal: Principal,
    @Query() { types, last_event_id }: EventsQuery,
    @Req() request: Request,
    @Res() response: Response,
  ): Promise<void> {
    const sink = new ResponseSink(response)
    const after = readLastEventId(request.headers['last-event-id']) ?? last_event_id
    // Asked before the head is sent, so that a refusal is an ordinary problem document.
    const gone = await this.events.listen(principal, sink, {
      types,
      last_event_id: after,
      admit: () => this.admission.admit(request, request.ip),
    })
    response.on('close', gone)
    if (response.destroyed) gone()
    sink.open()
  }
}

/** One response. What is sent before the head is out waits in it. */
class ResponseSink implements Sink {
  private waiting: string[] | null = []
  onDrained = () => undefined as void

  constructor(private readonly response: Response) {
    response.on('drain', () => this.onDrained())
  }

  open(): void {
    this.response.writeHead(200, {
      'Content-Type': 'text/event-stream; charset=utf-8',
      'Cache-Control': 'no-store, no-transform',
      'X-Accel-Buffering': 'no',
    })
    const waiting = this.waiting ?? []
    this.waiting = null
    this.write([`retry: ${RETRY_MS}\n\n`, ...waiting].join(''))
  }

  get buffered(): number {
    return this.response.writableLength
  }

  send({ index, name, json }: LiveEvent): void {
    const id = index === null ? '' : `id: ${index}\n`
    this.write(`${id}event: ${name}\ndata: ${json}\n\n`)
  }

  beat(seen: number): void {
    // An id without data is not an event, but is remembered: what was passed over need not be read again.
    this.write(seen >= 0 ? `: beat\nid: ${seen}\n\n` : ': beat\n\n')
  }

  end(reason: Ending): void {
    if (reason === 'slow_consumer') {
      this.response.destroy()
      return
    }
    this.write(`retry: ${RETRY_MS}\nevent: end\ndata: {"reason":"${reason}"}\n\n`)
    this.response.end()
    // A client that does not hang up must not keep the process from ending.
    setTimeout(() => this.response.destroy(), 500).unref()
  }

  private write(text: string): void {
    if (this.waiting) this.waiting.push(text)
    else if (this.response.writable) this.response.write(text)
  }
}

/** @throws Problem `validation_failed` for an id that no event has */
export function readLastEventId(header: string | string[] | undefined): number | undefined {
  if (header === undefined || header === '') return undefined
  if (typeof header === 'string' && /^(0|[1-9]\d{0,14})$/.test(header)) return Number(header)
  const errors = [{ path: 'Last-Event-ID', message: 'must be the id of an event: a whole number' }]
  throw new Problem('validation_failed', { errors })
}
