import { Injectable } from '@nestjs/common'
import type { Json } from '../core/ledger/canonical.js'
import { Problem } from '../core/problems.js'
import { DeliveriesService, permissionsFor } from '../deliveries/deliveries.service.js'
import { actorOf, LedgerService } from '../ledger/ledger.service.js'
import { type Principal, teamOf } from '../platform/access/principal.js'
import { Clock } from '../platform/clock/clock.js'
import { Database } from '../platform/database/database.service.js'
import { Outbound } from '../platform/outbound/outbound.service.js'
import { MailService } from './mail.service.js'
import type { Notifications, PutNotifications } from './notifications.dto.js'
import { ChatUrlService, type StoredNotifications } from './chat-url.service.js'

const NONE: StoredNotifications = {
  email_recipients: [],
  email_events: [],
  slack_url: null,
  slack_events: [],
  from_index: 0n,
}

/** Who is told of approvals, kills and whatever else, by e-mail or chat: one setting an organization. */
@Injectable()
export class NotificationsService {
  constructor(
    private readonly database: Database,
    private readonly ledger: LedgerService,
    private readonly deliveries: DeliveriesService,
    private readonly outbound: Outbound,
    private readonly mail: MailService,
    private readonly urls: ChatUrlService,
    private readonly clock: Clock,
  ) {}

  /** The setting, without the chat's URL. */
  async get(principal: Principal): Promise<Notifications> {
    const { org_id } = principal
    return this.database.withOrg(principal, async (tx) => {
      const row = await tx.notificationSettings.findUnique({ where: { org_id } })
      return {
        ...this.view(org_id, row ?? NONE),
        updated_at: row?.updated_at ?? null,
        updated_by: row?.updated_by ?? null,
      }
    })
  }

  /**
   * Replaces the setting; who is told gets what is recorded after this.
   * @throws Problem `validation_failed` for a URL that must not be reached, for e-mail without an SMTP server, and for a
   * chat without a URL; `forbidden` for events that the principal could not read
   */
  async put(principal: Principal, body: PutNotifications): Promise<Notifications> {
    mayTell(principal, [...(body.email?.events ?? []), ...(body.slack?.events ?? [])])
    if (body.email && !this.mail.is_configured) {
      throw invalid('email', 'cannot be used: the operator has set no SMTP server (SMTP_URL)')
    }
    const refusal = body.slack?.url === undefined ? null : this.outbound.refusal(body.slack.url)
    if (refusal !== null) throw invalid('slack.url', refusal)
    const { org_id } = principal
    return this.database.withOrg(principal, async (tx) => {
      const before = (await tx.notificationSettings.findUnique({ where: { org_id } })) ?? NONE
      const slack_url =
        body.slack?.url === undefined ? before.slack_url : this.urls.seal(org_id, body.slack.url)
      if (body.slack && slack_url === null) throw invalid('slack.url', 'is required the first time')
      const data = {
        email_recipients: body.email?.recipients ?? [],
        email_events: body.email?.events ?? [],
        slack_url: body.slack ? slack_url : null,
        slack_events: body.slack?.events ?? [],
        from_index: await this.deliveries.follow(tx, org_id),
        updated_at: new Date(this.clock.now()),
        updated_by: actorOf(principal).id,
      }
      const after = await tx.notificationSettings.upsert({
        where: { org_id },
        create: { org_id, ...data },
        update: data,
      })
      await this.ledger.append(tx, principal, {
        event: 'notifications.updated',
        change: { kind: 'notifications', id: org_id, op: 'updated' },
        before: this.view(org_id, before) as unknown as Json,
        after: this.view(org_id, after) as unknown as Json,
      })
      return {
        ...this.view(org_id, after),
        updated_at: after.updated_at,
        updated_by: after.updated_by,
      }
    })
  }

  private view(org_id: string, row: StoredNotifications): Pick<Notifications, 'email' | 'slack'> {
    const { email_recipients, email_events, slack_url, slack_events } = row
    return {
      email: email_events.length === 0 ? null : { recipients: email_recipients, events: email_events },
      slack:
        slack_url === null
          ? null
          : { host: new URL(this.urls.open(org_id, slack_url)).host, events: slack_events },
    }
  }
}

/** A message shows what the log shows, so it needs the same permissions; it knows no teams. */
function mayTell(principal: Principal, events: readonly string[]): void {
  if (teamOf(principal) !== null) {
    throw new Problem('forbidden', {
      detail: 'Notifications are of the whole organization, not of one team.',
    })
  }
  const lacking = permissionsFor(events, false).filter((permission) => !principal.permissions.has(permission))
  if (lacking.length > 0) {
    throw new Problem('forbidden', { detail: `To have these events told needs ${lacking.join(', ')}.` })
  }
}

const invalid = (path: string, message: string) =>
  new Problem('validation_failed', { errors: [{ path, message }] })
