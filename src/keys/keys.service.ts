import { Injectable } from '@nestjs/common'
import { randomBytes } from 'node:crypto'
import { hashKey } from '../authentication/authentication.service.js'
import { ID_BYTES, makeId } from '../core/ids.js'
import { KEY_BYTES, keyPrefix, makeKey } from '../core/keys/key-format.js'
import type { Subject } from '../core/ledger/entry.js'
import { agentNotFound, Problem } from '../core/problems.js'
import { actorOf, LedgerService } from '../ledger/ledger.service.js'
import type { Principal } from '../platform/access/principal.js'
import { agentsWithin } from '../platform/access/scope.js'
import { Clock } from '../platform/clock/clock.js'
import { Settings } from '../platform/config/settings.js'
import { Database, type Tx } from '../platform/database/database.service.js'
import { DEFAULT_LIMIT, type Listed, type Page } from '../platform/http/page.dto.js'
import type { CreatedKey, CreateKey, Key, RotateKey } from './keys.dto.js'
import { type KeyHolder, lockKeyHolder } from './keys.queries.js'

/** Enough for every rotation and replica; few enough that a leaked administrator key cannot bury its own among them. */
export const MAX_ACTIVE_KEYS = 20

/** Everything that may be shown: the hash is not among it. */
const VIEW = {
  key_id: true,
  agent_id: true,
  key_prefix: true,
  expires_at: true,
  revoked_at: true,
  last_used_at: true,
  created_at: true,
  created_by: true,
} as const

type KeyRow = Omit<Key, 'state'>

/**
 * Keys of agents. A new key raises no version, because an unknown key is looked up; everything that ends a key raises
 * its agent's, so that no decision made with it can still be committed.
 */
@Injectable()
export class KeysService {
  private readonly listeners: ((tx: Tx, principal: Principal, agent_id: string) => Promise<unknown>)[] = []

  constructor(
    private readonly database: Database,
    private readonly ledger: LedgerService,
    private readonly settings: Settings,
    private readonly clock: Clock,
  ) {}

  /** Registers what ends with the last key of an agent, in the transaction that revokes it. */
  onLastRevoked(listener: (tx: Tx, principal: Principal, agent_id: string) => Promise<unknown>): void {
    this.listeners.push(listener)
  }

  /**
   * Makes another key for an agent and returns its secret, this once.
   * @throws Problem `agent_not_found`, also for an inactive one; `conflict` when it has 20 active keys;
   * `validation_failed` for a past expiry
   */
  async create(principal: Principal, agent_id: string, { expires_at }: CreateKey): Promise<CreatedKey> {
    return this.database.withOrg(principal, async (tx) => {
      const holder = await activeHolder(tx, principal, agent_id)
      return this.issue(tx, principal, holder, expires_at)
    })
  }

  /** The agent's keys, newest first, whatever their state. @throws Problem `agent_not_found` */
  async list(principal: Principal, agent_id: string, { limit, offset }: Page): Promise<Listed<Key>> {
    const where = { org_id: principal.org_id, agent_id }
    const holder = { ...agentsWithin(principal), agent_id }
    const now = new Date(this.clock.now())
    return this.database.withOrg(principal, async (tx) => {
      if ((await tx.agent.count({ where: holder })) === 0) throw agentNotFound(agent_id)
      const rows = await tx.agentKey.findMany({
        where,
        select: VIEW,
        orderBy: [{ created_at: 'desc' }, { key_id: 'desc' }],
        take: limit ?? DEFAULT_LIMIT,
        skip: offset ?? 0,
      })
      return { items: rows.map((row) => withState(row, now)), total: await tx.agentKey.count({ where }) }
    })
  }

  /**
   * Revokes a key: the very next request with it is a 401. Revoking it again changes nothing.
   * @throws Problem `agent_not_found`, `key_not_found`
   */
  async revoke(principal: Principal, agent_id: string, key_id: string): Promise<void> {
    await this.database.withOrg(principal, async (tx) => {
      const holder = await lockKeyHolder(tx, agentsWithin(principal), agent_id)
      if (!holder) throw agentNotFound(agent_id)
      const before = await find(tx, principal, agent_id, key_id)
      if (before.revoked_at) return
      const now = new Date(this.clock.now())
      const after = await this.end(tx, principal, key_id, { revoked_at: now })
      if ((await countActive(tx, principal.org_id, agent_id, now)) === 0) {
        for (const listener of this.listeners) await listener(tx, principal, agent_id)
      }
      await this.recordRevoked(tx, principal, subjectOf(holder), before, after)
    })
  }

  /**
   * Replaces a key: makes a new one, and lets the old one work for `overlap_seconds` more.
   * @throws Problem `agent_not_found`, `key_not_found`; `conflict` for a key that does not work any more, or when the
   * agent has 20 active keys; `validation_failed` for a past expiry
   */
  async rotate(
    principal: Principal,
    agent_id: string,
    key_id: string,
    options: RotateKey,
  ): Promise<CreatedKey> {
    return this.database.withOrg(principal, async (tx) => {
      const now = new Date(this.clock.now())
      const holder = await activeHolder(tx, principal, agent_id)
      const before = withState(await find(tx, principal, agent_id, key_id), now)
      if (before.state !== 'active') {
        throw new Problem('conflict', { detail: `Key ${key_id} is ${before.state}; make a new key instead.` })
      }
      const after = await this.end(tx, principal, key_id, endOf(before, now, options.overlap_seconds ?? 0))
      const created = await this.issue(tx, principal, holder, options.expires_at)
      await this.ledger.append(tx, principal, {
        event: 'key.rotated',
        change: { kind: 'key', id: key_id, op: 'rotated' },
        subject: subjectOf(holder),
        raises: { agent_id },
        before: recorded(before),
        after: { ...recorded(after), replaced_by: created.key_id },
      })
      // Whoever checks "no allow after a no" from the log alone looks for this event.
      if (after.revoked_at) await this.recordRevoked(tx, principal, subjectOf(holder), before, after)
      return created
    })
  }

  /**
   * Makes a key in a transaction that holds the agent, with its entry.
   * @throws Problem `conflict` when the agent has 20 active keys; `validation_failed` for a past expiry
   */
  async issue(tx: Tx, principal: Principal, holder: KeyHolder, expires_at?: Date): Promise<CreatedKey> {
    const now = new Date(this.clock.now())
    if (expires_at && expires_at <= now) {
      throw new Problem('validation_failed', {
        errors: [{ path: 'expires_at', message: 'must be in the future' }],
      })
    }
    const { org_id } = principal
    const { agent_id } = holder
    if ((await countActive(tx, org_id, agent_id, now)) >= MAX_ACTIVE_KEYS) {
      throw new Problem('conflict', {
        detail: `Agent ${agent_id} has ${MAX_ACTIVE_KEYS} active keys, which is the most. Revoke one first.`,
      })
    }
    const prefix = this.settings.api_key_prefix
    const api_key = makeKey(prefix, randomBytes(KEY_BYTES))
    const row = await tx.agentKey.create({
      data: {
        org_id,
        agent_id,
        key_id: makeId('key_', randomBytes(ID_BYTES)),
        key_hash: hashKey(api_key),
        key_prefix: keyPrefix(prefix, api_key),
        expires_at,
        created_at: now,
        created_by: actorOf(principal).id,
      },
      select: VIEW,
    })
    await this.ledger.append(tx, principal, {
      event: 'key.created',
      change: { kind: 'key', id: row.key_id, op: 'created' },
      subject: subjectOf(holder),
      after: recorded(row),
    })
    return { ...withState(row, now), api_key }
  }

  /** Revokes whatever keys an agent has left, each with its entry. Returns their ids. */
  async revokeAll(tx: Tx, principal: Principal, subject: Subject): Promise<string[]> {
    const where = { org_id: principal.org_id, agent_id: subject.agent_id, revoked_at: null }
    const revoked_at = new Date(this.clock.now())
    const rows = await tx.agentKey.updateManyAndReturn({ where, data: { revoked_at }, select: VIEW })
    rows.sort((a, b) => (a.key_id < b.key_id ? -1 : 1))
    for (const after of rows) {
      await this.recordRevoked(tx, principal, subject, { ...after, revoked_at: null }, after)
    }
    return rows.map((row) => row.key_id)
  }

  private recordRevoked(
    tx: Tx,
    principal: Principal,
    subject: Subject,
    before: KeyRow,
    after: KeyRow,
  ): Promise<void> {
    return this.ledger.append(tx, principal, {
      event: 'key.revoked',
      change: { kind: 'key', id: after.key_id, op: 'revoked' },
      subject,
      raises: { agent_id: subject.agent_id },
      before: recorded(before),
      after: recorded(after),
    })
  }

  private end(tx: Tx, { org_id }: Principal, key_id: string, data: KeyEnd): Promise<KeyRow> {
    return tx.agentKey.update({ where: { org_id_key_id: { org_id, key_id } }, data, select: VIEW })
  }
}

type KeyEnd = { readonly revoked_at: Date } | { readonly expires_at: Date }

/** How a rotated key ends: at once, or after the overlap unless it expires sooner anyway. */
function endOf({ expires_at }: KeyRow, now: Date, overlap_seconds: number): KeyEnd {
  if (overlap_seconds === 0) return { revoked_at: now }
  const overlap_end = new Date(now.getTime() + overlap_seconds * 1000)
  return { expires_at: expires_at && expires_at < overlap_end ? expires_at : overlap_end }
}

async function activeHolder(tx: Tx, principal: Principal, agent_id: string): Promise<KeyHolder> {
  const holder = await lockKeyHolder(tx, agentsWithin(principal), agent_id)
  if (!holder?.is_active) throw agentNotFound(agent_id)
  return holder
}

async function find(tx: Tx, { org_id }: Principal, agent_id: string, key_id: string): Promise<KeyRow> {
  const row = await tx.agentKey.findFirst({ where: { org_id, agent_id, key_id }, select: VIEW })
  if (!row) throw new Problem('key_not_found', { detail: `Key ${key_id} not found` })
  return row
}

function countActive(tx: Tx, org_id: string, agent_id: string, now: Date): Promise<number> {
  const unexpired = { OR: [{ expires_at: null }, { expires_at: { gt: now } }] }
  return tx.agentKey.count({ where: { org_id, agent_id, revoked_at: null, ...unexpired } })
}

function withState(row: KeyRow, now: Date): Key {
  const expired = row.expires_at !== null && row.expires_at <= now
  return { ...row, state: row.revoked_at ? 'revoked' : expired ? 'expired' : 'active' }
}

const subjectOf = ({ agent_id, environment, owner_team }: KeyHolder) => ({
  agent_id,
  environment,
  team: owner_team,
})

const recorded = ({ key_prefix, expires_at, revoked_at }: KeyRow) => ({
  key_prefix,
  expires_at: expires_at?.toISOString() ?? null,
  revoked_at: revoked_at?.toISOString() ?? null,
})
