import { Injectable } from '@nestjs/common'
import { randomBytes } from 'node:crypto'
import { AgentsService, subjectOf } from '../agents/agents.service.js'
import { isUuid, uuidv7 } from '../core/ids.js'
import type { Subject } from '../core/ledger/entry.js'
import { Problem } from '../core/problems.js'
import { LedgerService } from '../ledger/ledger.service.js'
import { type Principal, teamOf } from '../platform/access/principal.js'
import { Clock } from '../platform/clock/clock.js'
import { Database, type Tx } from '../platform/database/database.service.js'
import type { EraseAgent, EraseEntry, Erasure } from './erasure.dto.js'
import * as queries from './erasure.queries.js'

/** Payloads a transaction erases: a second or so, during which the organization's log goes on. */
const PER_TRANSACTION = 5_000

/** What is being erased, for whoever keeps a copy of it. */
export interface ErasedScope extends queries.Stretch {
  readonly org_id: string
  /** Of this agent alone; null: whatever lies in the stretch. */
  readonly agent_id: string | null
}

type Copy = (tx: Tx, scope: ErasedScope) => Promise<void>

/**
 * Erases the erasable part of entries (ledger.md, Payload): arguments, context, metadata, before and after. The
 * entries themselves stay, and with them every proof; who erased what and why is an entry of its own, committed
 * together with the erasure or not at all. Action and resource are part of the entry and cannot be erased.
 */
@Injectable()
export class ErasureService {
  private readonly copies: Copy[] = []

  constructor(
    private readonly database: Database,
    private readonly ledger: LedgerService,
    private readonly agents: AgentsService,
    private readonly clock: Clock,
  ) {}

  /** Registers what else must be cleared in the transaction that erases. */
  onErase(copy: Copy): void {
    this.copies.push(copy)
  }

  /** Erases the payload of one entry. @throws Problem `log_not_found` */
  async eraseEntry(principal: Principal, log_id: string, { reason }: EraseEntry): Promise<Erasure> {
    const { org_id } = principal
    if (!isUuid(log_id)) throw missing(log_id)
    const target = await this.database.withOrg(principal, (tx) => queries.selectTarget(tx, org_id, log_id))
    if (!target) throw missing(log_id)
    const subject = await this.subjectOf(principal, target, log_id)
    return this.database
      .withOrg(principal, async (tx) => {
        const stretch = { from: target.index, upto: target.index }
        await queries.clearKeptAnswers(tx, org_id, log_id)
        return this.erase(tx, principal, stretch, null, reason, subject)
      })
      .catch(nothingLeft)
  }

  /**
   * Erases the payloads of an agent's entries, the oldest first, in as many transactions as it takes; asking again
   * goes on where a broken connection ended it. @throws Problem `agent_not_found`
   */
  async eraseAgent(
    principal: Principal,
    agent_id: string,
    { reason, end_time }: EraseAgent,
  ): Promise<Erasure> {
    const { org_id } = principal
    const subject = subjectOf(await this.agents.get(principal, agent_id))
    const upto_time = end_time ?? new Date(this.clock.now())
    const total = { erased: 0, recorded: 0 }
    for (;;) {
      const done = await this.database
        .withOrg(principal, async (tx) => {
          const stretch = await queries.selectStretch(tx, org_id, agent_id, upto_time, PER_TRANSACTION)
          if (!stretch) return null
          await queries.clearKeptAnswers(tx, org_id, agent_id)
          return this.erase(tx, principal, stretch, agent_id, reason, subject)
        })
        .catch(nothingLeft)
      if (!done || done.erased === 0) return total
      total.erased += done.erased
      total.recorded += done.recorded
    }
  }

  private async erase(
    tx: Tx,
    principal: Principal,
    stretch: queries.Stretch,
    agent_id: string | null,
    reason: string,
    subject: Subject | undefined,
  ): Promise<Erasure> {
    const { org_id } = principal
    const erasure_id = uuidv7(this.clock.now(), randomBytes(10))
    const erased = await queries.erase(tx, org_id, erasure_id, stretch, agent_id)
    // Rolls the transaction back: an erasure of nothing is not recorded.
    if (erased === 0) throw new NothingLeft()
    for (const copy of this.copies) await copy(tx, { org_id, ...stretch, agent_id })
    await this.ledger.append(tx, principal, {
      event: 'payload.erased',
      redaction: { ...stretch, ...(agent_id !== null && { agent_id }), count: erased, reason },
      ...(subject && { subject }),
    })
    return { erased, recorded: 1 }
  }

  /** Whose entry it is. Of an agent that the principal may not see, it is not there. */
  private async subjectOf(
    principal: Principal,
    { agent_id }: queries.Target,
    log_id: string,
  ): Promise<Subject | undefined> {
    if (agent_id !== null) {
      return this.agents.get(principal, agent_id).then(subjectOf, (error: unknown) => {
        throw error instanceof Problem && error.code === 'agent_not_found' ? missing(log_id) : error
      })
    }
    if (teamOf(principal) !== null) throw missing(log_id)
    return undefined
  }
}

class NothingLeft extends Error {}

const NOTHING: Erasure = { erased: 0, recorded: 0 }

function nothingLeft(error: unknown): Erasure {
  if (error instanceof NothingLeft) return NOTHING
  throw error
}

const missing = (log_id: string) => new Problem('log_not_found', { detail: `No entry ${log_id} found` })
