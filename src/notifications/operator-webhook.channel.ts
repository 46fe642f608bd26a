import { createHmac } from 'node:crypto'
import { Injectable, Logger, type OnApplicationBootstrap, type OnModuleInit } from '@nestjs/common'
import { DEFAULT_ORG_ID } from '../core/ids.js'
import type { Entry } from '../core/ledger/entry.js'
import {
  type Attempt,
  type Channel,
  DeliveriesService,
  type Destination,
  factsOf,
  linkTo,
  type Outcome,
  outcomeOf,
} from '../deliveries/deliveries.service.js'
import { Settings } from '../platform/config/settings.js'
import { Database, type Tx } from '../platform/database/database.service.js'
import { insist, PATIENT } from '../platform/database/insist.js'
import { Outbound } from '../platform/outbound/outbound.service.js'
import { noticeOf, slackMessage } from './texts.js'

const ID = 'opr_webhook'
const TIMEOUT_MS = 15_000
/** What is told, under the names that receivers of AgentGuard know (row AG-84). */
const NAMES: Readonly<Record<string, string>> = {
  'approval.requested': 'approval.created',
  'approval.approved': 'approval.approved',
  'approval.denied': 'approval.denied',
}
const SLACK_HOST = 'hooks.slack.com'

/**
 * `WEBHOOK_URL` (row AG-84): the operator's one receiver of approvals in the default organization, without anybody
 * having made a webhook. It leaves over the same outbox and through the same vetting as everything else; what it lacks
 * (rotation, disabling, replay, choosing events) a webhook of `POST /webhooks` has.
 */
@Injectable()
export class OperatorWebhookChannel implements Channel, OnModuleInit, OnApplicationBootstrap {
  readonly prefix = 'opr_'
  private readonly logger = new Logger(OperatorWebhookChannel.name)

  constructor(
    private readonly database: Database,
    private readonly deliveries: DeliveriesService,
    private readonly outbound: Outbound,
    private readonly settings: Settings,
  ) {}

  onModuleInit(): void {
    this.deliveries.register(this)
  }

  /** From the first start with the setting on, the log of the default organization is followed. */
  async onApplicationBootstrap(): Promise<void> {
    const { webhook_url } = this.settings
    if (webhook_url === undefined) return
    const refusal = this.outbound.refusal(webhook_url)
    // Nothing is lost: it is tried for three days, and the next start may have another setting.
    if (refusal !== null) this.logger.error(`WEBHOOK_URL ${refusal}`)
    const follow = () =>
      this.database.withOrg({ org_id: DEFAULT_ORG_ID }, (tx) => this.deliveries.follow(tx, DEFAULT_ORG_ID))
    await insist(follow, PATIENT)
  }

  destinations(_: Tx, org_id: string): Promise<Destination[]> {
    if (org_id !== DEFAULT_ORG_ID || this.settings.webhook_url === undefined) return Promise.resolve([])
    return Promise.resolve([
      { id: ID, events: Object.keys(NAMES), team: null, from_index: 0, ordered: false },
    ])
  }

  async destination(tx: Tx, org_id: string, id: string): Promise<Destination | null> {
    return (await this.destinations(tx, org_id)).find((destination) => destination.id === id) ?? null
  }

  async attempt({ org_id, log_index, entry, signal }: Attempt): Promise<Outcome> {
    const { webhook_url: url } = this.settings
    if (url === undefined) return { result: 'gone', error: 'WEBHOOK_URL is not set any more' }
    const body = JSON.stringify(
      URL.parse(url)?.hostname === SLACK_HOST
        ? slackMessage(noticeOf(entry), linkTo(entry, this.settings.public_url))
        : this.message(entry, org_id, log_index),
    )
    const headers = { 'content-type': 'application/json', 'webhook-id': entry.id, ...this.signature(body) }
    const posted = this.outbound.post({ url, headers, body, timeout_ms: TIMEOUT_MS, signal })
    return outcomeOf(posted, 'the receiver')
  }

  /** A receiver that fails is tried again and then given up; there is nothing to disable. */
  async settled(): Promise<void> {}

  private message(entry: Entry, org_id: string, log_index: number): object {
    const name = NAMES[entry.event] ?? entry.event
    const data = factsOf(org_id, log_index, entry, this.settings.public_url)
    return { event: name, type: name, timestamp: entry.ts, data }
  }

  private signature(body: string): Record<string, string> {
    const { webhook_secret } = this.settings
    if (webhook_secret === undefined) return {}
    const mac = createHmac('sha256', Buffer.from(webhook_secret)).update(body).digest('hex')
    return { 'x-agentguard-signature': `sha256=${mac}` }
  }
}
