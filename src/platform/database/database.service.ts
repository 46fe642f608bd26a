import { Inject, Injectable, Logger, type OnApplicationBootstrap } from '@nestjs/common'
import { AsyncLocalStorage } from 'node:async_hooks'
import { Socket } from 'node:net'
import { PrismaPg } from '@prisma/adapter-pg'
import { Pool, type PoolClient } from 'pg'
import { Prisma, PrismaClient } from '../../generated/prisma/client.js'
import { assertDatabase } from './assertions.js'
import type { Connections } from './connections.js'
import { Slots } from './slots.js'

export const CONNECTIONS = Symbol('CONNECTIONS')
export const POOL = Symbol('POOL')

/** The control plane's connections (row AG-101). */
export interface PoolOptions {
  /** Most connections that may be open. */
  readonly max: number
  /** How long a request may wait for one, in milliseconds. */
  readonly timeout_ms: number
  /** After how many seconds a connection is replaced. */
  readonly recycle_s: number
}

/** A transaction of the control plane, bound to one organization. */
export type Tx = Prisma.TransactionClient

interface Hooks {
  readonly org_id: string
  readonly before: Map<symbol, () => Promise<void>>
  readonly after: (() => void)[]
}

/** Connections that append at once: the second one only helps when several organizations are busy. */
export const FLUSHERS = 2

/** Connections of each kind that are kept for stopping: one who stops is enough to stop. */
const URGENT = 1

/** How long a control-plane transaction may last (milliseconds). */
const TRANSACTION_TIMEOUT_MS = 10_000

/**
 * A host that lost its power closes no connection, and TCP notices after hours. So a statement that is not answered
 * is over: here, and in PostgreSQL, which is told of the limits when a connection is made.
 */
const HOT_LIMITS = {
  connectionTimeoutMillis: 1_000,
  // Below the 2 s in which a decision must be answered: its connection is free again by then.
  query_timeout: 1_500,
  statement_timeout: 1_500,
}
const BACKGROUND_LIMITS = {
  connectionTimeoutMillis: 1_000,
  query_timeout: TRANSACTION_TIMEOUT_MS,
  statement_timeout: TRANSACTION_TIMEOUT_MS,
}
const SILENT_MS = 6_000

/** How often the connection that is kept for stopping is used, so that nobody takes it for lost. */
const WARM_MS = 2_000
const APP_LIMITS = {
  // Not `query_timeout`, after which Prisma would roll back on the dead connection and give it back to the pool.
  stream: () => {
    const socket = new Socket()
    const silent = Object.assign(new Error('the database is silent'), { code: 'ETIMEDOUT' })
    return socket.setTimeout(SILENT_MS, () => socket.destroy(silent))
  },
  idleTimeoutMillis: SILENT_MS - 1_000,
  statement_timeout: TRANSACTION_TIMEOUT_MS,
  // A transaction whose client is gone lets go of the head of its log, and so do those that queue behind it.
  idle_in_transaction_session_timeout: 2_000,
  lock_timeout: 4_000,
}

/**
 * How a transaction for raw SQL begins. The plans of its prepared statements are kept: to plan a read of the log anew, with
 * its dozens of partitions, costs more than to read a few hundred entries. A kept plan is one for any range, and could be
 * taken for one of a very long range; what would only pay there is off.
 */
const BULK = `
  SELECT set_config('app.org_id', $1, true), set_config('plan_cache_mode', 'force_generic_plan', true),
         set_config('jit', 'off', true), set_config('max_parallel_workers_per_gather', '0', true)`

/** What `pg` says when a connection took longer to be made than the pool waits. */
const TOO_SLOW = /timeout exceeded when trying to connect|connection timeout/

/**
 * The first connection of a pool. What a decision may wait for one (a second) says nothing about a start: a machine that
 * is busy starting everything at once makes its first connections slowly, and the process must not end for that.
 */
async function firstConnection(pool: Pool, until: number): Promise<void> {
  for (;;) {
    try {
      const client = await pool.connect()
      return client.release()
    } catch (error) {
      if (!(error instanceof Error && TOO_SLOW.test(error.message)) || performance.now() >= until) throw error
    }
  }
}

/**
 * The two doors to PostgreSQL: Prisma as `agentguard_app` for the control plane, where every statement runs in a
 * transaction bound to one organization, and a small `pg` pool as `agentguard_hot` for the decision path.
 */
@Injectable()
export class Database implements OnApplicationBootstrap {
  private readonly logger = new Logger(Database.name)
  private readonly appPool: Pool
  private readonly prisma: PrismaClient
  /** The control plane's connection that is kept open for stopping: to make one takes as long as to stop. */
  private readonly urgentAppPool: Pool
  private readonly urgentPrisma: PrismaClient
  private urgent = 0
  private readonly hooks = new WeakMap<object, Hooks>()
  /** As many transactions at once as there are connections for them; one connection more is kept for what is urgent. */
  private readonly slots: Slots
  private readonly urgency = new AsyncLocalStorage<true>()
  private readonly hotPool: Pool
  private readonly urgentPool: Pool
  private warmer: NodeJS.Timeout | undefined
  /** Its reserved ones: for each flusher and the poll, so that nothing else that is read can keep these waiting. */
  readonly reserved: Pool
  /** The same role for the workers behind the decision path, so that they never take one of its connections. */
  readonly background: Pool

  constructor(
    @Inject(CONNECTIONS) readonly connections: Connections,
    @Inject(POOL) private readonly pool: PoolOptions,
  ) {
    const app = {
      ...connections.app,
      ...APP_LIMITS,
      // Whatever the server's own default is: `transact` says no more than that it must be this one.
      options: [connections.app.options, String.raw`-c default_transaction_isolation=read\ committed`]
        .filter(Boolean)
        .join(' '),
      connectionTimeoutMillis: pool.timeout_ms,
      maxLifetimeSeconds: pool.recycle_s,
    }
    this.appPool = new Pool({ ...app, max: pool.max + URGENT })
    this.urgentAppPool = new Pool({ ...app, max: URGENT })
    this.slots = new Slots(pool.max, pool.timeout_ms)
    this.hotPool = new Pool({ ...connections.hot, ...HOT_LIMITS, max: 4 })
    // Never given up: to have it is the point, also when PostgreSQL has no connection left to give.
    this.urgentPool = new Pool({ ...connections.hot, ...HOT_LIMITS, max: URGENT, idleTimeoutMillis: 0 })
    this.reserved = new Pool({ ...connections.hot, ...HOT_LIMITS, max: FLUSHERS + 1 })
    this.background = new Pool({ ...connections.hot, ...BACKGROUND_LIMITS, max: 3 })
    for (const pool of this.pools) {
      // An idle connection that dies (server restart) must not end the process; the next query gets a new one.
      pool.on('error', (error) => this.logger.warn(`an idle database connection was lost: ${error.message}`))
      // Nor may one that dies in use, where the pool does not listen: the statement that is or comes next fails.
      pool.on('connect', (client) => client.on('error', () => {}))
    }
    this.prisma = clientOf(this.appPool)
    this.urgentPrisma = clientOf(this.urgentAppPool)
  }

  /** Refuses to serve over a database whose walls are down (roles, policies, triggers, durability). */
  async onApplicationBootstrap(): Promise<void> {
    const until = performance.now() + this.pool.timeout_ms
    for (const pool of this.pools) await firstConnection(pool, until)
    await assertDatabase(this.appPool, this.hotPool)
    this.keepWarm()
  }

  /** The connection for stopping stays open: a silent one would be taken for lost. */
  private keepWarm(): void {
    const again = (): void => {
      if (this.urgentAppPool.ending) return
      this.warmer = setTimeout(() => {
        // What fails here fails for whoever comes next as well, and is said there.
        this.urgentAppPool.query('SELECT 1').then(again, again)
      }, WARM_MS).unref()
    }
    again()
  }

  /** The decision path's connections for what it reads. Raw SQL, in `*.queries.ts` only. */
  get hot(): Pool {
    return this.urgency.getStore() ? this.urgentPool : this.hotPool
  }

  /**
   * Everything in `work` uses connections that are kept for it and does not stand in line: for stopping, which must get
   * through when everything else is busy. Nothing that anybody else waits for may run in it.
   */
  urgently<T>(work: () => T): T {
    return this.urgency.run(true, work)
  }

  /** Leaves `urgently`, for what follows and may wait. */
  patiently<T>(work: () => T): T {
    return this.urgency.exit(work)
  }

  /**
   * One control-plane transaction of one organization (READ COMMITTED).
   * `app.org_id` is set first, so row-level security holds for everything inside; what was registered with
   * `beforeCommit` runs last, in the same transaction; what was registered with `afterCommit` runs only if it
   * committed. The caller's error is rethrown and nothing stays.
   * @param enters the first statement of `work` sets `app.org_id` itself, which saves a round trip; until then
   * row-level security shows nothing and lets nothing be written
   */
  withOrg<T>(
    scope: { readonly org_id: string },
    work: (tx: Tx) => Promise<T>,
    { enters = false }: { readonly enters?: boolean } = {},
  ): Promise<T> {
    // Who stops something while another one does takes an ordinary connection, but does not stand in line.
    if (this.urgency.getStore() && this.urgent < URGENT) return this.transactUrgently(scope, work, enters)
    return this.inTurn(() => this.transact(this.prisma, scope, work, enters))
  }

  private async transactUrgently<T>(
    scope: { readonly org_id: string },
    work: (tx: Tx) => Promise<T>,
    enters: boolean,
  ): Promise<T> {
    this.urgent++
    try {
      return await this.transact(this.urgentPrisma, scope, work, enters)
    } finally {
      this.urgent--
    }
  }

  /**
   * Statements that are each a transaction of their own and set `app.org_id` themselves, in a function: a change that is
   * one statement costs one round trip. Until they do, row-level security shows nothing. On the connection that is kept for
   * stopping, or on an ordinary one while that is in use, without standing in line. Raw SQL, in `*.queries.ts` only.
   */
  async withUrgentClient<T>(work: (client: PoolClient) => Promise<T>): Promise<T> {
    if (this.urgent >= URGENT) return withClient(this.appPool, work)
    this.urgent++
    try {
      return await withClient(this.urgentAppPool, work)
    } finally {
      this.urgent--
    }
  }

  private async inTurn<T>(work: () => Promise<T>): Promise<T> {
    if (this.urgency.getStore()) return work()
    const giveBack = await this.slots.take()
    try {
      return await work()
    } finally {
      giveBack()
    }
  }

  private async transact<T>(
    prisma: PrismaClient,
    scope: { readonly org_id: string },
    work: (tx: Tx) => Promise<T>,
    enters: boolean,
  ): Promise<T> {
    let after: (() => void)[] = []
    const result = await prisma.$transaction(
      async (tx) => {
        const hooks: Hooks = { org_id: scope.org_id, before: new Map(), after: [] }
        this.hooks.set(tx, hooks)
        // The isolation level is stated here and not by a statement of its own, which would cost every transaction a round
        // trip. It can only confirm what began: with another default, PostgreSQL refuses it.
        if (!enters)
          await tx.$executeRaw`
          SELECT set_config('app.org_id', ${scope.org_id}, true), set_config('transaction_isolation', 'read committed', true)`
        const value = await work(tx)
        for (const run of hooks.before.values()) await run()
        after = hooks.after
        return value
      },
      { maxWait: this.pool.timeout_ms, timeout: TRANSACTION_TIMEOUT_MS },
    )
    // What follows the commit has no hurry of its own.
    for (const run of after) this.patiently(run)
    return result
  }

  /**
   * The same for raw SQL (`*.queries.ts`): reading the log in bulk, where Prisma would cost more than PostgreSQL.
   * Nothing is recorded in the log by it.
   */
  withOrgClient<T>(scope: { readonly org_id: string }, work: (client: PoolClient) => Promise<T>): Promise<T> {
    return this.inTurn(() => this.transactRaw(scope, work))
  }

  private async transactRaw<T>(
    scope: { readonly org_id: string },
    work: (client: PoolClient) => Promise<T>,
  ): Promise<T> {
    return withClient(this.appPool, async (client) => {
      await client.query('BEGIN')
      await client.query(BULK, [scope.org_id])
      const value = await work(client)
      await client.query('COMMIT')
      return value
    })
  }

  /** The organization a transaction is bound to. */
  orgOf(tx: Tx): string {
    return this.hooksOf(tx).org_id
  }

  /** Registers work for the end of the transaction, once per `name`. */
  beforeCommit(tx: Tx, name: symbol, run: () => Promise<void>): void {
    const { before } = this.hooksOf(tx)
    if (!before.has(name)) before.set(name, run)
  }

  /** Registers work for after a successful commit. It must not throw. */
  afterCommit(tx: Tx, run: () => void): void {
    this.hooksOf(tx).after.push(run)
  }

  /** Round trip of a trivial statement, in milliseconds. Throws when the database cannot be reached. */
  async ping(): Promise<number> {
    const start = performance.now()
    await this.appPool.query('SELECT 1')
    return performance.now() - start
  }

  /** Open connections of all pools. */
  get connection_count(): number {
    return this.pools.reduce((sum, pool) => sum + pool.totalCount, 0)
  }

  /** Closes the pools, then the connections' own end (an embedded server stops here). Called last at shutdown. */
  async close(): Promise<void> {
    clearTimeout(this.warmer)
    await Promise.all([this.prisma.$disconnect(), this.urgentPrisma.$disconnect()])
    await Promise.all(this.pools.map((pool) => pool.end()))
    await this.connections.close()
  }

  private get pools(): Pool[] {
    return [this.appPool, this.urgentAppPool, this.hotPool, this.urgentPool, this.reserved, this.background]
  }

  private hooksOf(tx: Tx): Hooks {
    const hooks = this.hooks.get(tx)
    if (!hooks) throw new Error('this transaction was not opened by withOrg')
    return hooks
  }
}

/** A connection on which anything failed is not used again: closing it rolls back whatever state it is in. */
async function withClient<T>(pool: Pool, work: (client: PoolClient) => Promise<T>): Promise<T> {
  const client = await pool.connect()
  let broken = true
  try {
    const value = await work(client)
    broken = false
    return value
  } finally {
    client.release(broken)
  }
}

const clientOf = (pool: Pool): PrismaClient =>
  new PrismaClient({
    adapter: new PrismaPg(pool, { onPoolError: () => {}, onConnectionError: () => {} }),
  })
