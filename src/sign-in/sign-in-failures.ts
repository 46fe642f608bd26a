import { Injectable, Logger } from '@nestjs/common'
import { normalizeIp } from '@nestjs/throttler'
import { createHmac, createSecretKey, type KeyObject } from 'node:crypto'
import { DEFAULT_ORG_ID } from '../authentication/authentication.service.js'
import { Problem } from '../core/problems.js'
import { type Change, LedgerService, SYSTEM } from '../ledger/ledger.service.js'
import { Settings } from '../platform/config/settings.js'
import { Database } from '../platform/database/database.service.js'
import { Shutdown } from '../platform/http/shutdown.js'
import { Metrics } from '../platform/metrics/metrics.js'
import * as queries from './sign-in.queries.js'

const HOUR_S = 3600

/** An office shares an address; a person does not share an account. At most a try in 15 minutes, some 100 a day. */
const LIMITS: Readonly<Record<queries.FailureScope, queries.FailureLimit>> = {
  account: { free: 5, max_delay_s: 900, forget_s: 24 * HOUR_S },
  address: { free: 20, max_delay_s: 900, forget_s: HOUR_S },
}

/** One try to sign in, counted as failed until it is known to be right. */
export interface Attempt {
  readonly email: string
  readonly address: string
  readonly account_failures: number
  readonly address_taken: queries.Taken
}

/**
 * Failed tries to sign in, by account and by address, in PostgreSQL so that replicas share them. An account that does
 * not exist is counted as one that does, and a blocked one is refused before its password is looked at: no answer
 * tells more than that somebody failed too often.
 */
@Injectable()
export class SignInFailures {
  private readonly logger = new Logger(SignInFailures.name)
  private readonly key: KeyObject
  private readonly recording = new Set<Promise<void>>()

  constructor(
    private readonly database: Database,
    private readonly ledger: LedgerService,
    private readonly metrics: Metrics,
    settings: Settings,
    shutdown: Shutdown,
  ) {
    // Keyed, so that the table cannot be searched for an address by who has the table alone.
    const derived = createHmac('sha256', settings.ledger_kek).update('agentguard/sign-in/v1').digest()
    this.key = createSecretKey(derived)
    shutdown.onClose('work', 'records of failed sign-ins', async () => {
      await Promise.all(this.recording)
    })
  }

  /**
   * Takes a try for this account from this address. @throws Problem `too_many_failures`
   * @param email normalised @param ip of the client
   */
  async take(email: string, ip: string | undefined): Promise<Attempt> {
    const address = normalizeIp(ip ?? 'unknown')
    // The table belongs to no organization; a transaction does.
    return this.database.withOrg({ org_id: DEFAULT_ORG_ID }, async (tx) => {
      await queries.deleteForgotten(tx, LIMITS.account.forget_s)
      const taken = async (scope: queries.FailureScope, text: string): Promise<queries.Taken> => {
        const subject = this.subject(scope, text)
        const found = await queries.takeTry(tx, scope, subject, LIMITS[scope])
        if (found) return found
        this.metrics.authenticationFailed('sign_in')
        throw blocked(await queries.selectBlockedFor(tx, scope, subject))
      }
      // Always in this order, so that two tries never wait for each other.
      const address_taken = await taken('address', address)
      const { failures } = await taken('account', email)
      return { email, address, account_failures: failures, address_taken }
    })
  }

  /** The try was right: the account starts anew, the address gets this one try back and no more. */
  async succeeded({ email, address, address_taken }: Attempt): Promise<void> {
    await this.database.withOrg({ org_id: DEFAULT_ORG_ID }, async (tx) => {
      await queries.giveBackTry(tx, 'address', this.subject('address', address), address_taken)
      await queries.deleteFailures(tx, 'account', this.subject('account', email))
    })
  }

  /**
   * The try was wrong. Every so often the log says how many were: not one entry a try, or anybody could fill it. Written
   * beside the answer, which must not take longer for accounts that exist.
   */
  failed(attempt: Attempt): void {
    this.metrics.authenticationFailed('sign_in')
    const record = this.record(attempt)
      .catch((error: unknown) => this.logger.error({ err: error }, 'failed sign-ins could not be recorded'))
      .finally(() => this.recording.delete(record))
    this.recording.add(record)
  }

  private async record({ email, address, account_failures, address_taken }: Attempt): Promise<void> {
    if (isMilestone(account_failures, LIMITS.account.free)) {
      for (const { org_id, member_id } of await queries.selectNamesakes(this.database.hot, email)) {
        const after = { failures: account_failures, address }
        await this.append(org_id, { kind: 'member', id: member_id, op: 'authentication_failed' }, after)
      }
    }
    const { failures } = address_taken
    if (isMilestone(failures, LIMITS.address.free)) {
      // Whoever was tried from there, it is the operator's to know.
      const change = { kind: 'address', id: 'sign-in', op: 'authentication_failed' }
      await this.append(DEFAULT_ORG_ID, change, { failures, address })
    }
  }

  private async append(
    org_id: string,
    change: Extract<Change, { change: unknown }>['change'],
    after: { failures: number; address: string },
  ): Promise<void> {
    await this.database.withOrg({ org_id }, (tx) =>
      this.ledger.append(tx, SYSTEM, { event: 'authentication.failed', change, after }),
    )
  }

  private subject(scope: queries.FailureScope, text: string): Uint8Array {
    return createHmac('sha256', this.key).update(`${scope}\0${text}`).digest()
  }
}

/** `first`, twice that, four times … */
function isMilestone(failures: number, first: number): boolean {
  const times = failures / first
  return Number.isInteger(times) && (times & (times - 1)) === 0 && times > 0
}

const blocked = (retry_after: number) =>
  new Problem('too_many_failures', {
    detail: 'Too many tries failed, for this account or from this address. Wait, then try again.',
    retry_after,
  })
