import { Injectable, type OnModuleInit } from '@nestjs/common'
import {
  type Attempt,
  type Channel,
  DeliveriesService,
  type Destination,
  factsOf,
  type Outcome,
  type Settled,
} from '../deliveries/deliveries.service.js'
import { LedgerService, SYSTEM } from '../ledger/ledger.service.js'
import { Clock } from '../platform/clock/clock.js'
import { Settings } from '../platform/config/settings.js'
import { Database, type Tx } from '../platform/database/database.service.js'
import { VERSION } from '../platform/http/version.js'
import { Outbound, type OutboundAnswer, OutboundError } from '../platform/outbound/outbound.service.js'
import { makeMessage, MODES } from './message.js'
import { SecretsService } from './secrets.service.js'
import { signatureHeaders } from './signature.js'

export const WEBHOOK_PREFIX = 'whk_'
const TIMEOUT_MS = 15_000
const GONE = 410

/** Sends events to webhooks, and stops sending to those that are gone. */
@Injectable()
export class WebhooksChannel implements Channel, OnModuleInit {
  readonly prefix = WEBHOOK_PREFIX

  constructor(
    private readonly database: Database,
    private readonly deliveries: DeliveriesService,
    private readonly ledger: LedgerService,
    private readonly outbound: Outbound,
    private readonly secrets: SecretsService,
    private readonly clock: Clock,
    private readonly settings: Settings,
  ) {}

  onModuleInit(): void {
    this.deliveries.register(this)
  }

  async destinations(tx: Tx, org_id: string): Promise<Destination[]> {
    return (await tx.webhook.findMany({ where: { org_id, is_enabled: true }, select: DESTINATION })).map(
      toDestination,
    )
  }

  async destination(tx: Tx, org_id: string, webhook_id: string): Promise<Destination | null> {
    const row = await tx.webhook.findFirst({
      where: { org_id, webhook_id, is_enabled: true },
      select: DESTINATION,
    })
    return row && toDestination(row)
  }

  async attempt(attempt: Attempt): Promise<Outcome> {
    const { org_id, destination_id, entry, log_index, signal } = attempt
    const now = this.clock.now()
    const [webhook, secrets] = await this.database.withOrg({ org_id }, async (tx) => [
      await tx.webhook.findFirst({ where: { org_id, webhook_id: destination_id, is_enabled: true } }),
      await this.secrets.active(tx, org_id, destination_id, new Date(now)),
    ])
    if (!webhook) return { result: 'gone', error: 'the webhook was deleted or disabled' }
    const payload = webhook.include_payload ? await attempt.payload() : undefined
    const mode = MODES.find((known) => known === webhook.mode) ?? 'standard'
    const facts = factsOf(org_id, log_index, entry, this.settings.public_url)
    const { body, content_type } = makeMessage(mode, entry, facts, payload)
    const headers = {
      'content-type': content_type,
      'user-agent': `AgentGuard/${VERSION}`,
      ...signatureHeaders(`${entry.id}_${destination_id}`, Math.floor(now / 1_000), body, secrets),
    }
    try {
      return outcomeOf(
        await this.outbound.post({ url: webhook.url, headers, body, timeout_ms: TIMEOUT_MS, signal }),
      )
    } catch (error) {
      if (error instanceof OutboundError) return { result: 'failed', error: error.message }
      throw error
    }
  }

  async settled(tx: Tx, settled: Settled): Promise<void> {
    const {
      org_id,
      destination_id: webhook_id,
      result,
      response_status,
      exhausted,
      created_at,
      now,
    } = settled
    const where = { org_id, webhook_id, is_enabled: true }
    if (result === 'delivered') {
      await tx.webhook.updateMany({
        where: { ...where, failing_since: { not: null } },
        data: { failing_since: null },
      })
      return
    }
    if (response_status === GONE) return this.disable(tx, org_id, webhook_id, 'gone')
    await tx.webhook.updateMany({ where: { ...where, failing_since: null }, data: { failing_since: now } })
    if (!exhausted) return
    // Disabled when nothing at all arrived since this one was first tried, some three days ago.
    const failing = await tx.webhook.findFirst({
      where: { ...where, NOT: { failing_since: null } },
      select: { failing_since: true },
    })
    const since = failing?.failing_since
    if (since && now.getTime() - since.getTime() >= (now.getTime() - created_at.getTime()) * MOST_OF_IT) {
      await this.disable(tx, org_id, webhook_id, 'failing')
    }
  }

  private async disable(
    tx: Tx,
    org_id: string,
    webhook_id: string,
    reason: 'gone' | 'failing',
  ): Promise<void> {
    const { count } = await tx.webhook.updateMany({
      where: { org_id, webhook_id, is_enabled: true },
      data: { is_enabled: false, disabled_reason: reason },
    })
    if (count === 0) return
    await this.deliveries.cancel(tx, org_id, webhook_id)
    await this.ledger.append(tx, SYSTEM, {
      event: 'webhook.disabled',
      change: { kind: 'webhook', id: webhook_id, op: 'disabled' },
      before: { is_enabled: true },
      after: { is_enabled: false, disabled_reason: reason },
    })
  }
}

/** The first attempt comes a moment after the delivery is made. */
const MOST_OF_IT = 0.99

const DESTINATION = { webhook_id: true, events: true, team: true, from_index: true, ordered: true } as const

const toDestination = (row: {
  webhook_id: string
  events: string[]
  team: string | null
  from_index: bigint
  ordered: boolean
}): Destination => ({
  id: row.webhook_id,
  events: row.events,
  team: row.team,
  from_index: Number(row.from_index),
  ordered: row.ordered,
})

function outcomeOf({ status, retry_after }: OutboundAnswer): Outcome {
  if (status >= 200 && status < 300) return { result: 'delivered', response_status: status }
  if (status === GONE)
    return { result: 'gone', response_status: status, error: 'the receiver answered 410 Gone' }
  const redirects = status >= 300 && status < 400 ? ': redirects are not followed' : ''
  return {
    result: 'failed',
    response_status: status,
    retry_after,
    error: `the receiver answered ${status}${redirects}`,
  }
}
