import { Injectable } from '@nestjs/common'
import { Problem } from '../core/problems.js'
import { DeliveriesService, type Replayed } from '../deliveries/deliveries.service.js'
import { LedgerService } from '../ledger/ledger.service.js'
import type { Principal } from '../platform/access/principal.js'
import { Clock } from '../platform/clock/clock.js'
import { Database } from '../platform/database/database.service.js'
import { WebhooksChannel } from './webhooks.channel.js'
import type { ReplayedWebhook, ReplayWebhook } from './webhooks.dto.js'
import { assertEnabled, find, mayReceive } from './webhooks.service.js'

const LOG_ID_LENGTH = 36

/** Sending again what was sent, or sending what never was: the log has everything. */
@Injectable()
export class ReplayService {
  constructor(
    private readonly database: Database,
    private readonly deliveries: DeliveriesService,
    private readonly channel: WebhooksChannel,
    private readonly ledger: LedgerService,
    private readonly clock: Clock,
  ) {}

  /**
   * Makes deliveries due again, under the `webhook-id` they always had. Ones that wait already are left alone.
   * @throws Problem `webhook_not_found`, `validation_failed`, `conflict` for a disabled webhook, `forbidden` for who
   * could not read the entries
   */
  async replay(principal: Principal, webhook_id: string, body: ReplayWebhook): Promise<ReplayedWebhook> {
    const { org_id } = principal
    const range = rangeOf(body, new Date(this.clock.now()))
    return this.database.withOrg(principal, async (tx) => {
      const webhook = await find(tx, principal, webhook_id)
      assertEnabled(webhook)
      mayReceive(principal, webhook)
      const destination = await this.channel.destination(tx, org_id, webhook_id)
      if (!destination) throw new Problem('conflict')
      const log_ids = (body.delivery_ids ?? [])
        .filter((id) => id.slice(LOG_ID_LENGTH + 1) === webhook_id)
        .map((id) => id.slice(0, LOG_ID_LENGTH))
      const replayed: Replayed =
        range === null
          ? { queued: await this.deliveries.replayEntries(tx, org_id, webhook_id, log_ids), next_from: null }
          : await this.deliveries.replayTime(tx, org_id, destination, range)
      await this.ledger.append(tx, principal, {
        event: 'webhook.replayed',
        change: { kind: 'webhook', id: webhook_id, op: 'replayed' },
        after: {
          queued: replayed.queued,
          ...(range && { from: range.from.toISOString(), to: range.to.toISOString() }),
        },
      })
      return replayed
    })
  }
}

/** The time that is asked for; null when deliveries are named instead. */
function rangeOf({ delivery_ids, from, to }: ReplayWebhook, now: Date): { from: Date; to: Date } | null {
  if ((delivery_ids === undefined) === (from === undefined) || (to !== undefined && from === undefined)) {
    throw invalid('', 'must have either delivery_ids, or from (and to)')
  }
  if (from === undefined) return null
  if (to !== undefined && to < from) throw invalid('to', 'must not be before from')
  return { from, to: to ?? now }
}

const invalid = (path: string, message: string) =>
  new Problem('validation_failed', { errors: [{ path, message }] })
