import { Injectable } from '@nestjs/common'
import { randomBytes } from 'node:crypto'
import { ID_BYTES, makeId } from '../core/ids.js'
import type { Json } from '../core/ledger/canonical.js'
import type { Permission } from '../core/permissions.js'
import { Problem } from '../core/problems.js'
import { DeliveriesService, permissionsFor, TEST_EVENT } from '../deliveries/deliveries.service.js'
import { actorOf, LedgerService } from '../ledger/ledger.service.js'
import { type Principal, teamOf } from '../platform/access/principal.js'
import { Clock } from '../platform/clock/clock.js'
import { Database, type Tx } from '../platform/database/database.service.js'
import { DEFAULT_LIMIT, type Listed, type Page } from '../platform/http/page.dto.js'
import { Outbound } from '../platform/outbound/outbound.service.js'
import { SecretsService } from './secrets.service.js'
import type {
  CreateWebhook,
  ListDeliveries,
  UpdateWebhook,
  Webhook,
  WebhookDelivery,
  WebhookWithSecret,
} from './webhooks.dto.js'
import { WEBHOOK_PREFIX } from './webhooks.channel.js'

const VIEW = {
  webhook_id: true,
  name: true,
  url: true,
  events: true,
  team: true,
  mode: true,
  ordered: true,
  include_payload: true,
  is_enabled: true,
  disabled_reason: true,
  failing_since: true,
  created_at: true,
  updated_at: true,
  created_by: true,
} as const

/** Each costs a comparison an entry, and each entry at most a request to each. */
const MAX_WEBHOOKS = 50
const DEFAULT_OVERLAP_HOURS = 24

/**
 * Endpoints that receive events. They raise no configuration version: no decision depends on them. Whoever has events
 * sent somewhere must be allowed to read them; who is held to a team sees and makes webhooks of that team only.
 */
@Injectable()
export class WebhooksService {
  constructor(
    private readonly database: Database,
    private readonly ledger: LedgerService,
    private readonly deliveries: DeliveriesService,
    private readonly outbound: Outbound,
    private readonly secrets: SecretsService,
    private readonly clock: Clock,
  ) {}

  /**
   * Makes a webhook and returns its secret, this once. It gets what is recorded after this.
   * @throws Problem `validation_failed`, `forbidden`, `conflict` beyond 50 webhooks
   */
  async create(principal: Principal, body: CreateWebhook): Promise<WebhookWithSecret> {
    this.checkUrl(body.url)
    const team = body.team ?? teamOf(principal)
    mayReceive(principal, { events: body.events, include_payload: body.include_payload ?? false, team })
    const { org_id } = principal
    const now = new Date(this.clock.now())
    return this.database.withOrg(principal, async (tx) => {
      if ((await tx.webhook.count({ where: { org_id } })) >= MAX_WEBHOOKS) {
        throw new Problem('conflict', {
          detail: `An organization has at most ${MAX_WEBHOOKS} webhooks. Delete one that is not needed.`,
        })
      }
      await assertTeam(tx, org_id, team)
      const row = await tx.webhook.create({
        data: {
          org_id,
          webhook_id: makeId(WEBHOOK_PREFIX, randomBytes(ID_BYTES)),
          name: body.name,
          url: body.url,
          events: body.events,
          team,
          mode: body.mode ?? 'standard',
          ordered: body.ordered ?? false,
          include_payload: body.include_payload ?? false,
          from_index: await this.deliveries.follow(tx, org_id),
          created_at: now,
          updated_at: now,
          created_by: actorOf(principal).id,
        },
        select: VIEW,
      })
      const secret = await this.secrets.add(tx, org_id, row.webhook_id, now)
      await this.record(tx, principal, 'created', row.webhook_id, { after: recorded(row) })
      return { ...row, secret }
    })
  }

  /** The organization's webhooks, oldest first. */
  async list(principal: Principal, { limit, offset }: Page): Promise<Listed<Webhook>> {
    const where = seenBy(principal)
    return this.database.withOrg(principal, async (tx) => ({
      items: await tx.webhook.findMany({
        where,
        select: VIEW,
        orderBy: [{ created_at: 'asc' }, { webhook_id: 'asc' }],
        take: limit ?? DEFAULT_LIMIT,
        skip: offset ?? 0,
      }),
      total: await tx.webhook.count({ where }),
    }))
  }

  /** @throws Problem `webhook_not_found` */
  get(principal: Principal, webhook_id: string): Promise<Webhook> {
    return this.database.withOrg(principal, (tx) => find(tx, principal, webhook_id))
  }

  /**
   * Changes a webhook. What was disabled by itself is enabled with `is_enabled: true`; what happened meanwhile was not
   * sent, and can be replayed.
   * @throws Problem `webhook_not_found`, `validation_failed`, `forbidden`
   */
  async update(principal: Principal, webhook_id: string, body: UpdateWebhook): Promise<Webhook> {
    if (body.url !== undefined) this.checkUrl(body.url)
    const { org_id } = principal
    return this.database.withOrg(principal, async (tx) => {
      const before = await find(tx, principal, webhook_id)
      const { is_enabled, ...fields } = body
      const team = fields.team === undefined ? before.team : fields.team
      // Not only what changes: somebody else's wider view is not extended, redirected or resumed by who may see less.
      mayReceive(principal, {
        events: fields.events ?? before.events,
        include_payload: fields.include_payload ?? before.include_payload,
        team,
      })
      await assertTeam(tx, org_id, team)
      const after = await tx.webhook.update({
        where: { org_id_webhook_id: { org_id, webhook_id } },
        data: {
          ...fields,
          ...(is_enabled === undefined || is_enabled === before.is_enabled ? {} : switched(is_enabled)),
          // What happened while it was disabled is not its own, however late it is read.
          ...(is_enabled === true && !before.is_enabled
            ? { from_index: await this.deliveries.follow(tx, org_id) }
            : {}),
          updated_at: new Date(this.clock.now()),
        },
        select: VIEW,
      })
      if (!after.is_enabled) await this.deliveries.cancel(tx, org_id, webhook_id)
      await this.record(tx, principal, 'updated', webhook_id, {
        before: recorded(before),
        after: recorded(after),
      })
      return after
    })
  }

  /** Deletes a webhook with its secrets; what waits for it is not sent. @throws Problem `webhook_not_found` */
  async delete(principal: Principal, webhook_id: string): Promise<void> {
    const { org_id } = principal
    await this.database.withOrg(principal, async (tx) => {
      const before = await find(tx, principal, webhook_id)
      const { count } = await tx.webhook.deleteMany({ where: { org_id, webhook_id } })
      if (count === 0) throw missing(webhook_id)
      await this.deliveries.cancel(tx, org_id, webhook_id)
      await this.record(tx, principal, 'deleted', webhook_id, { before: recorded(before) })
    })
  }

  /**
   * Makes a new secret. Until the overlap ends, messages carry the signatures of both; a third never exists.
   * @throws Problem `webhook_not_found`
   */
  async rotateSecret(
    principal: Principal,
    webhook_id: string,
    overlap_hours = DEFAULT_OVERLAP_HOURS,
  ): Promise<WebhookWithSecret> {
    const { org_id } = principal
    const now = new Date(this.clock.now())
    return this.database.withOrg(principal, async (tx) => {
      const row = await find(tx, principal, webhook_id)
      const secret = await this.secrets.rotate(tx, org_id, webhook_id, overlap_hours, now)
      await this.record(tx, principal, 'secret_rotated', webhook_id, { after: { overlap_hours } })
      return { ...row, secret }
    })
  }

  /** Records an event that only this webhook gets. @throws Problem `webhook_not_found`, `conflict` */
  async test(principal: Principal, webhook_id: string): Promise<{ event: string }> {
    await this.database.withOrg(principal, async (tx) => {
      assertEnabled(await find(tx, principal, webhook_id))
      await this.record(tx, principal, 'tested', webhook_id, {})
    })
    return { event: TEST_EVENT }
  }

  /** A page of what was and will be sent, newest entry first. @throws Problem `webhook_not_found` */
  async listDeliveries(
    principal: Principal,
    webhook_id: string,
    query: ListDeliveries,
  ): Promise<Listed<WebhookDelivery>> {
    const { org_id } = principal
    return this.database.withOrg(principal, async (tx) => {
      await find(tx, principal, webhook_id)
      const page = { take: query.limit ?? DEFAULT_LIMIT, skip: query.offset ?? 0 }
      const where = { org_id, destination_id: webhook_id, status: query.status }
      const { items, total } = await this.deliveries.list(tx, where, page)
      return {
        total,
        items: items.map(({ org_id: _, destination_id, log_index, next_attempt_at, ...row }) => ({
          ...row,
          delivery_id: `${row.log_id}_${destination_id}`,
          log_index: Number(log_index),
          next_attempt_at: row.status === 'pending' ? next_attempt_at : null,
        })),
      }
    })
  }

  private checkUrl(url: string): void {
    const message = this.outbound.refusal(url)
    if (message !== null) throw invalid('url', message)
  }

  private record(
    tx: Tx,
    principal: Principal,
    op: string,
    webhook_id: string,
    states: { before?: Json; after?: Json },
  ): Promise<void> {
    const change = { kind: 'webhook', id: webhook_id, op }
    return this.ledger.append(tx, principal, { event: `webhook.${op}`, change, ...states })
  }
}

/** Who is held to a team does not see the webhooks of others, nor those of the whole organization. */
export function seenBy(principal: Principal): { org_id: string; team?: string } {
  const team = teamOf(principal)
  return { org_id: principal.org_id, ...(team === null ? {} : { team }) }
}

export async function find(tx: Tx, principal: Principal, webhook_id: string): Promise<Webhook> {
  const row = await tx.webhook.findFirst({ where: { ...seenBy(principal), webhook_id }, select: VIEW })
  if (!row) throw missing(webhook_id)
  return row
}

export function assertEnabled(webhook: Webhook): void {
  if (webhook.is_enabled) return
  throw new Problem('conflict', {
    detail: 'The webhook is disabled. Enable it first: PATCH {"is_enabled": true}.',
  })
}

/** Nobody has something sent that they could not read. @throws Problem `forbidden` */
export function mayReceive(
  principal: Principal,
  {
    events,
    include_payload,
    team,
  }: { events: readonly string[]; include_payload: boolean; team: string | null },
): void {
  const own = teamOf(principal)
  if (own !== null && team !== own) {
    throw new Problem('forbidden', { detail: `This principal may only have events of the team ${own} sent.` })
  }
  const lacking: Permission[] = permissionsFor(events, include_payload).filter(
    (permission) => !principal.permissions.has(permission),
  )
  if (lacking.length > 0) {
    throw new Problem('forbidden', { detail: `To have these events sent needs ${lacking.join(', ')}.` })
  }
}

async function assertTeam(tx: Tx, org_id: string, team: string | null): Promise<void> {
  if (team === null || (await tx.team.findFirst({ where: { org_id, team } }))) return
  throw invalid('team', 'must be a team that owns agents in this organization')
}

const switched = (is_enabled: boolean) => ({
  is_enabled,
  disabled_reason: is_enabled ? null : 'requested',
  failing_since: null,
})

const invalid = (path: string, message: string) =>
  new Problem('validation_failed', { errors: [{ path, message }] })

const missing = (webhook_id: string) =>
  new Problem('webhook_not_found', { detail: `Webhook ${webhook_id} not found` })

/** Of the URL only its origin: paths and queries of webhooks often are secrets. */
const recorded = ({
  name,
  url,
  events,
  team,
  mode,
  ordered,
  include_payload,
  is_enabled,
  disabled_reason,
}: Webhook) => ({
  name,
  origin: new URL(url).origin,
  events,
  team,
  mode,
  ordered,
  include_payload,
  is_enabled,
  disabled_reason,
})
