import { Injectable, type OnModuleInit } from '@nestjs/common'
import {
  type Attempt,
  type Channel,
  DeliveriesService,
  type Destination,
  linkTo,
  type Outcome,
  outcomeOf,
} from '../deliveries/deliveries.service.js'
import { Settings } from '../platform/config/settings.js'
import { Database, type Tx } from '../platform/database/database.service.js'
import { Outbound } from '../platform/outbound/outbound.service.js'
import { MailService } from './mail.service.js'
import { ChatUrlService, type StoredNotifications } from './chat-url.service.js'
import { mailText, noticeOf, slackMessage } from './texts.js'

const EMAIL = 'ntf_email'
const SLACK = 'ntf_slack'
const TIMEOUT_MS = 15_000
const NOBODY: Outcome = { result: 'gone', error: 'nobody is told in this way any more' }

/** Tells people, by e-mail and chat, over the same outbox and with the same retries as webhooks. */
@Injectable()
export class NotificationsChannel implements Channel, OnModuleInit {
  readonly prefix = 'ntf_'

  constructor(
    private readonly database: Database,
    private readonly deliveries: DeliveriesService,
    private readonly outbound: Outbound,
    private readonly mail: MailService,
    private readonly urls: ChatUrlService,
    private readonly settings: Settings,
  ) {}

  onModuleInit(): void {
    this.deliveries.register(this)
  }

  async destinations(tx: Tx, org_id: string): Promise<Destination[]> {
    const row = await tx.notificationSettings.findUnique({ where: { org_id } })
    return row ? destinationsOf(row) : []
  }

  async destination(tx: Tx, org_id: string, id: string): Promise<Destination | null> {
    return (await this.destinations(tx, org_id)).find((destination) => destination.id === id) ?? null
  }

  async attempt(attempt: Attempt): Promise<Outcome> {
    const { org_id } = attempt
    const row = await this.database.withOrg({ org_id }, (tx) =>
      tx.notificationSettings.findUnique({ where: { org_id } }),
    )
    if (!row) return NOBODY
    return attempt.destination_id === EMAIL ? this.byMail(attempt, row) : this.bySlack(attempt, row)
  }

  /** A chat or a mailbox that fails is tried again and then given up; there is nothing to disable. */
  async settled(): Promise<void> {}

  private async byMail({ entry }: Attempt, row: StoredNotifications): Promise<Outcome> {
    if (row.email_recipients.length === 0) return NOBODY
    const notice = noticeOf(entry)
    try {
      await this.mail.send({
        to: row.email_recipients,
        subject: `[AgentGuard] ${notice.title}`,
        text: mailText(notice, entry.ts, linkTo(entry, this.settings.public_url)),
        message_id: `<${entry.id}@agentguard>`,
      })
      return { result: 'delivered' }
    } catch (error) {
      // The server's own text may name recipients: the code alone is kept.
      const { responseCode, code } = error as { responseCode?: number; code?: string }
      const error_text = `the mail server did not take the message (${code ?? 'refused'})`
      return { result: 'failed', error: error_text, ...(responseCode && { response_status: responseCode }) }
    }
  }

  private async bySlack({ org_id, entry, signal }: Attempt, row: StoredNotifications): Promise<Outcome> {
    if (row.slack_url === null) return NOBODY
    const body = JSON.stringify(slackMessage(noticeOf(entry), linkTo(entry, this.settings.public_url)))
    const headers = { 'content-type': 'application/json' }
    const url = this.urls.open(org_id, row.slack_url)
    return outcomeOf(this.outbound.post({ url, headers, body, timeout_ms: TIMEOUT_MS, signal }), 'the chat')
  }
}

function destinationsOf({
  email_events,
  slack_events,
  slack_url,
  from_index,
}: StoredNotifications): Destination[] {
  const common = { team: null, from_index: Number(from_index), ordered: false }
  return [
    ...(email_events.length === 0 ? [] : [{ ...common, id: EMAIL, events: email_events }]),
    ...(slack_url === null ? [] : [{ ...common, id: SLACK, events: slack_events }]),
  ]
}
