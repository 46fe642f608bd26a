import { type Evidence, evidenceOf } from './evidence'
import { type Acknowledged, Load, type LoadOptions } from './load'
import { Replica, type ReplicaOptions } from './replica'
import { startStrictPostgres, type StrictPostgres } from './strict-postgres'

export interface FleetAgent {
  readonly agent_id: string
  key_id: string
  key: string
}

/** The service's answer deadline (2 s), its 100 ms sweep, and what load adds; what the machine adds is measured beside it. */
export const ANSWERED_WITHIN_MS = 3_000
/** Without help, decisions are made again this long after the fault is gone. */
export const RECOVERED_WITHIN_MS = 10_000

/** An answer of every effect: an allow is what must be in the log above all. */
export const BODIES = ['read:file', 'write:file', 'send:email'].map((action) =>
  JSON.stringify({ action, resource: 's3://docs/a.txt', context: { why: 'load' } }),
)
const POLICY = {
  allow: [{ action: 'read:file', resource: 's3://docs/*' }],
  require_approval: [{ action: 'send:email' }],
}

/** Replicas over one strict database, agents that ask, and the memory of everything that they were told. */
export class Fleet {
  readonly agents: FleetAgent[] = []
  readonly replicas: Replica[] = []
  readonly loads: Load[] = []
  private turn = 0

  private constructor(
    readonly postgres: StrictPostgres,
    readonly database: string,
    readonly database_url: string,
    private readonly owns_postgres: boolean,
  ) {}

  static async start(
    options: {
      replicas?: number
      agents?: number
      database?: string
      postgres?: StrictPostgres
      replica?: Omit<ReplicaOptions, 'database_url'>
      /** The URL that replicas use instead of the database's own: a proxy stands between. */
      through?: (url: string) => string
    } = {},
  ): Promise<Fleet> {
    const { database = 'product' } = options
    const postgres = options.postgres ?? (await startStrictPostgres())
    const url = await postgres.createDatabase(database)
    const fleet = new Fleet(postgres, database, options.through?.(url) ?? url, !options.postgres)
    try {
      for (let i = 0; i < (options.replicas ?? 1); i++) await fleet.add(options.replica)
      for (let i = 0; i < (options.agents ?? 2); i++) fleet.agents.push(await fleet.makeAgent())
    } catch (error) {
      await fleet.stop()
      throw error
    }
    return fleet
  }

  get first(): Replica {
    const [replica] = this.replicas
    if (!replica) throw new Error('no replica was started')
    return replica
  }

  async add(options: Partial<ReplicaOptions> = {}): Promise<Replica> {
    const replica = await Replica.start({ database_url: this.database_url, ...options })
    this.replicas.push(replica)
    return replica
  }

  async makeAgent(policy: unknown = POLICY): Promise<FleetAgent> {
    const made = await this.first.call<{ agent_id: string; key_id: string; api_key: string }>(
      'POST',
      '/agents',
      {
        name: 'agent',
        owner_team: 'faults',
        environment: 'prod',
      },
    )
    await this.first.call('PUT', `/agents/${made.agent_id}/policy`, policy)
    return { agent_id: made.agent_id, key_id: made.key_id, key: made.api_key }
  }

  /** Load over all replicas and agents in turn, unless `options` say otherwise. */
  load(options: Partial<LoadOptions> = {}): Load {
    const load = new Load({
      target: () => this.replicas[this.turn++ % this.replicas.length]?.url,
      connections: 32,
      request: () => this.question(),
      ...options,
    })
    this.loads.push(load)
    return load
  }

  question(): { key: string; body: string } {
    const turn = this.turn++
    return {
      key: this.agents[turn % this.agents.length]?.key ?? '',
      body: BODIES[turn % BODIES.length] ?? '',
    }
  }

  /** Compares everything that was ever acknowledged here with the log. */
  evidence(loads: readonly Load[] = this.loads): Promise<Evidence> {
    const acknowledged: Acknowledged[] = loads.flatMap((load) => load.acknowledged)
    return evidenceOf(this.postgres, this.database, acknowledged)
  }

  /** Fails when a replica has ended, with its last words. */
  expectAlive(): void {
    for (const replica of this.replicas)
      if (!replica.isRunning) throw new Error(`a replica ended: ${replica.log.slice(-4_000)}`)
  }

  /** Ends what a failed test has left running. */
  async quiet(): Promise<void> {
    await Promise.all(this.loads.map((load) => load.stop()))
  }

  async stop(): Promise<void> {
    await this.quiet()
    await Promise.all(this.replicas.map((replica) => replica.remove()))
    if (this.owns_postgres) await this.postgres.stop()
  }
}

/** What every scenario ends with. */
export function expectNothingLost(evidence: Evidence): void {
  expect(evidence).toMatchObject({ lost: 0, different: 0, gaps: 0 })
  expect(evidence.acknowledged).toBeGreaterThan(0)
}

/** Above this other programs keep the machine so busy that a decision may well take longer than its two seconds. */
const NOISY_MS = 100
export const isNoisy = ({ noise_ms }: Load): boolean => noise_ms >= NOISY_MS

/** What was too late is told so: its entry, or what it is decided from, was not there within two seconds. */
const LATE = ['ledger_unavailable', 'not_ready']

/** Every answer was a decision; on a machine that is too busy some may have come too late, and nothing else. */
export function expectDecided(load: Load): void {
  const excused = isNoisy(load) ? LATE : []
  expect([...load.statuses.keys()].filter((status) => status !== 200 && status !== 503)).toEqual([])
  expect([...load.refusals].filter((code) => !excused.includes(code))).toEqual([])
}

/** Nobody was left hanging, and what could not be decided was a 503. */
export function expectAnswered(load: Load): void {
  expect(load.failures.hung).toBe(0)
  expect(load.slowest_ms).toBeLessThan(ANSWERED_WITHIN_MS + load.noise_ms)
  expect(load.odd).toEqual([])
}
