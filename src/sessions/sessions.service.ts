import { Injectable } from '@nestjs/common'
import { randomBytes } from 'node:crypto'
import { hashKey, SESSION_IDLE_MINUTES, SESSION_PREFIX } from '../authentication/authentication.service.js'
import { ID_BYTES, makeId } from '../core/ids.js'
import { KEY_BYTES, makeKey } from '../core/keys/key-format.js'
import { Problem } from '../core/problems.js'
import { LedgerService, SYSTEM } from '../ledger/ledger.service.js'
import type { MemberPrincipal, Principal } from '../platform/access/principal.js'
import { Database, type Tx } from '../platform/database/database.service.js'
import { RolesService } from '../roles/roles.service.js'
import * as queries from './sessions.queries.js'

/** However much it is used. */
const SESSION_HOURS = 12
const MAX_USER_AGENT = 255

/** Whom a session is for: an active member, as the transaction that begins it has read and held it. */
export interface Holder {
  readonly org_id: string
  readonly member_id: string
  readonly roles: readonly string[]
  readonly team: string | null
}

/** Where a sign-in came from. */
export interface Visit {
  readonly address: string
  readonly user_agent: string
  readonly request_id: string
  /** The session that this browser had until now; it ends. */
  readonly previous: string | undefined
}

export interface BegunSession {
  readonly principal: MemberPrincipal
  /** For the cookie, this once: only its hash is kept. */
  readonly token: string
  readonly expires_at: Date
}

/** Sessions of browsers: 30 minutes idle, 12 hours at most, a new token at every sign-in. */
@Injectable()
export class SessionsService {
  constructor(
    private readonly database: Database,
    private readonly ledger: LedgerService,
    private readonly roles: RolesService,
  ) {}

  /** Begins a session under a token that nobody has seen before, and ends the one that the browser had. */
  async begin(
    tx: Tx,
    holder: Holder,
    method: 'password' | 'single_sign_on',
    visit: Visit,
    facts: { readonly failures_before?: number } = {},
  ): Promise<BegunSession> {
    const { org_id, member_id, roles, team } = holder
    const token = makeKey(SESSION_PREFIX, randomBytes(KEY_BYTES))
    const session_id = makeId('ses_', randomBytes(ID_BYTES))
    const user_agent = visit.user_agent.slice(0, MAX_USER_AGENT)
    const session = { org_id, session_id, member_id, method, address: visit.address, user_agent }
    const expires_at = await queries.insertSession(
      tx,
      { ...session, token_hash: hashKey(token) },
      SESSION_HOURS,
    )
    const identity = { kind: 'member', org_id, member_id, session_id, roles, team } as const
    const { permissions } = await this.roles.authorityOf(tx, org_id, roles, { path: 'roles' })
    const principal = { ...identity, permissions, request_id: visit.request_id }
    await this.replace(tx, principal, visit.previous)
    await this.ledger.append(tx, principal, {
      event: 'session.created',
      change: { kind: 'session', id: session_id, op: 'created' },
      after: { method, address: visit.address, user_agent, ...facts },
    })
    return { principal, token, expires_at }
  }

  /** The principal's own sessions that still work, newest first. */
  list({ org_id, member_id }: MemberPrincipal): Promise<queries.SessionView[]> {
    return this.database.withOrg({ org_id }, (tx) =>
      queries.selectSessions(tx, org_id, member_id, SESSION_IDLE_MINUTES),
    )
  }

  /** Ends one of the principal's own sessions. @throws Problem `session_not_found`, also when it has ended */
  async end(principal: MemberPrincipal, session_id: string): Promise<void> {
    const { org_id, member_id } = principal
    await this.database.withOrg(principal, async (tx) => {
      const ended = await queries.endSessions(tx, org_id, member_id, { only: session_id })
      if (ended.length === 0) {
        throw new Problem('session_not_found', { detail: `Session ${session_id} not found` })
      }
      await this.record(tx, principal, ended)
    })
  }

  /** Ends all sessions of a member, but for one if named. @returns how many */
  async endAll(
    tx: Tx,
    principal: Principal | typeof SYSTEM,
    org_id: string,
    member_id: string,
    but?: string,
  ): Promise<number> {
    const ended = await queries.endSessions(tx, org_id, member_id, but === undefined ? {} : { but })
    await this.record(tx, principal, ended)
    return ended.length
  }

  /** A session of another organization is left alone: this transaction cannot see it, and it ends by itself. */
  private async replace(tx: Tx, principal: MemberPrincipal, token: string | undefined): Promise<void> {
    if (token === undefined) return
    const old = await queries.selectByToken(tx, principal.org_id, hashKey(token))
    if (!old) return
    const only = { only: old.session_id }
    await this.record(tx, principal, await queries.endSessions(tx, principal.org_id, old.member_id, only))
  }

  private async record(tx: Tx, principal: Principal | typeof SYSTEM, ended: readonly string[]) {
    for (const id of ended) {
      await this.ledger.append(tx, principal, {
        event: 'session.ended',
        change: { kind: 'session', id, op: 'ended' },
      })
    }
  }
}
