import type { Pool, PoolClient } from 'pg'
import type { ConfigVersions, EntryType } from '../core/ledger/entry.js'
import { Prisma } from '../generated/prisma/client.js'
import type { Tx } from '../platform/database/database.service.js'
import * as binary from './binary-arrays.js'

/** An entry ready to be appended, with the projections of its columns. */
export interface AppendRow {
  readonly org_id: string
  readonly id: string
  /** Milliseconds; the entry's `ts` and the time in its id. */
  readonly ts: number
  readonly type: EntryType
  readonly agent_id: string | null
  readonly action_key: string | null
  readonly allowed: boolean | null
  readonly decision_id: string | null
  readonly versions: ConfigVersions
  /** Milliseconds after which the key that asked is expired, by the database's clock. */
  readonly not_after: number | null
  readonly entry: Buffer
  /** nonce (12) ‖ ciphertext ‖ tag, and the data key it is sealed with. */
  readonly payload: { readonly body: Buffer; readonly dek_id: string } | null
}

/** What `ledger.ledger_append` says of one entry (its `outcome`). */
export const OUTCOME = { appended: 0, held: 1, stale: 2, clock: 3, expired: 4, no_log: 5 } as const

export interface AppendResult {
  readonly outcome: number
  /** Present when appended. */
  readonly index: number | null
}

const APPEND = {
  name: 'ledger_append',
  text: `SELECT outcome, index::float8 AS index
         FROM ledger.ledger_append($1,false,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,$17,$18) ORDER BY ord`,
}

const EMPTY = Buffer.alloc(0)

const APPEND_ALIKE = {
  name: 'ledger_append_alike',
  text: `SELECT ledger.ledger_append_alike($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,$17,$18)::float8 AS index`,
}

/**
 * Appends a batch from the decision path, in one durable transaction (autocommit: the promise resolves after the
 * commit). Results are in the order of `rows`. `wait`: whether to wait for a head that another session holds.
 */
export async function appendBatch(
  client: PoolClient,
  rows: readonly AppendRow[],
  wait: boolean,
): Promise<AppendResult[]> {
  if (!wait) {
    const agents = agentsOf(rows)
    const index = agents && (await appendAlike(client, rows, agents))
    if (index !== null) return rows.map((_, i) => ({ outcome: OUTCOME.appended, index: index + i }))
  }
  const result = await client.query<AppendResult>({
    ...APPEND,
    values: [
      wait,
      arrayOf(rows, (row) => quoted(row.org_id)),
      arrayOf(rows, (row) => row.id),
      arrayOf(rows, (row) => row.ts),
      arrayOf(rows, (row) => row.type),
      arrayOf(rows, (row) => quoted(row.agent_id)),
      arrayOf(rows, (row) => quoted(row.action_key)),
      arrayOf(rows, (row) => row.allowed),
      arrayOf(rows, (row) => row.decision_id),
      arrayOf(rows, (row) => row.versions.installation),
      arrayOf(rows, (row) => row.versions.organization),
      arrayOf(rows, (row) => row.versions.agent ?? null),
      arrayOf(rows, (row) => row.not_after),
      arrayOf(rows, (row) => row.entry.length),
      Buffer.concat(rows.map((row) => row.entry)),
      arrayOf(rows, (row) => row.payload?.body.length ?? 0),
      Buffer.concat(rows.map((row) => row.payload?.body ?? EMPTY)),
      arrayOf(rows, (row) => row.payload?.dek_id ?? null),
    ],
  })
  return result.rows
}

/** An agent of a batch and the version of its configuration. */
interface BatchAgent {
  readonly agent_id: string
  readonly version: number
  /** Its place in the batch's list, from 1 as PostgreSQL counts. */
  readonly place: number
}

/** The agents of a batch of one organization at one configuration; null when it is not such a batch. */
function agentsOf(rows: readonly AppendRow[]): ReadonlyMap<string, BatchAgent> | null {
  const [first] = rows
  const agents = new Map<string, BatchAgent>()
  for (const { org_id, agent_id, versions, type } of rows) {
    const { installation, organization, agent: version } = versions
    if (
      org_id !== first?.org_id ||
      installation !== first.versions.installation ||
      organization !== first.versions.organization ||
      agent_id === null ||
      version === undefined ||
      (type !== 'decision' && type !== 'action')
    )
      return null
    const known = agents.get(agent_id)
    if (!known) agents.set(agent_id, { agent_id, version, place: agents.size + 1 })
    else if (known.version !== version) return null
  }
  return agents
}

/**
 * The cheap way for nearly every batch: what its entries share is said once, and what none of them has not at all.
 * @returns the first index; null when the batch has to be judged entry by entry, and nothing was written
 */
async function appendAlike(
  client: PoolClient,
  rows: readonly AppendRow[],
  agents: ReadonlyMap<string, BatchAgent>,
): Promise<number | null> {
  const [{ org_id, versions }] = rows as readonly [AppendRow, ...AppendRow[]]
  const list = [...agents.values()]
  const anyOf = <T>(has: (row: AppendRow) => boolean, values: () => T): T | null =>
    rows.some(has) ? values() : null
  const hasPayload = (row: AppendRow) => row.payload !== null
  let upto = 0
  let payload_upto = 0
  const result = await client.query<{ index: number | null }>({
    ...APPEND_ALIKE,
    values: [
      org_id,
      versions.installation,
      versions.organization,
      binary.texts(list.map(({ agent_id }) => agent_id)),
      binary.bigints(list.map(({ version }) => version)),
      list.length > 1
        ? binary.integers(rows.map(({ agent_id }) => agents.get(agent_id ?? '')?.place ?? null))
        : null,
      binary.uuids(rows.map((row) => row.id)),
      binary.bigints(rows.map((row) => row.ts)),
      anyOf(
        (row) => row.type === 'action',
        () => binary.booleans(rows.map((row) => row.type === 'action')),
      ),
      binary.texts(rows.map((row) => row.action_key)),
      binary.booleans(rows.map((row) => row.allowed)),
      anyOf(
        (row) => row.decision_id !== null,
        () => binary.uuids(rows.map((row) => row.decision_id)),
      ),
      anyOf(
        (row) => row.not_after !== null,
        () => binary.bigints(rows.map((row) => row.not_after)),
      ),
      binary.integers(rows.map((row) => (upto += row.entry.length))),
      Buffer.concat(rows.map((row) => row.entry)),
      anyOf(hasPayload, () =>
        binary.integers(rows.map((row) => (payload_upto += row.payload?.body.length ?? 0))),
      ),
      anyOf(hasPayload, () => Buffer.concat(rows.map((row) => row.payload?.body ?? EMPTY))),
      anyOf(hasPayload, () => binary.uuids(rows.map((row) => row.payload?.dek_id ?? null))),
    ],
  })
  return result.rows[0]?.index ?? null
}

/** An array in PostgreSQL's text form. The driver's own way examines every element for its type and for escapes. */
function arrayOf<T>(rows: readonly T[], element: (row: T) => string | number | boolean | null): string {
  let text = '{'
  for (const row of rows) text += `${text === '{' ? '' : ','}${element(row) ?? 'NULL'}`
  return `${text}}`
}

/** A text as an element of an array. What is not quoted could be taken for NULL, or for two elements. */
const quoted = (text: string | null): string | null =>
  text === null ? null : `"${SPECIAL.test(text) ? text.replace(/["\\]/g, '\\$&') : text}"`
const SPECIAL = /["\\]/

/** The indexes of entries that are already in the log, by id: which of an interrupted batch were committed. */
export async function selectIndexes(
  client: PoolClient,
  rows: readonly AppendRow[],
): Promise<Map<string, number>> {
  const { rows: found } = await client.query<{ id: string; index: number }>(
    'SELECT id, index::float8 AS index FROM ledger.ledger_find($1, $2)',
    [rows.map((row) => row.org_id), rows.map((row) => row.id)],
  )
  return new Map(found.map((row) => [row.id, row.index]))
}

/** Appends inside a control-plane transaction; waits for the head and holds it until the commit that follows. */
export async function appendInTransaction(
  tx: Tx,
  rows: readonly AppendRow[],
  raise: boolean,
): Promise<AppendResult[]> {
  const column = (values: readonly (string | number | boolean | null)[], type: string) =>
    Prisma.sql`ARRAY[${Prisma.join([...values])}]::${Prisma.raw(type)}[]`
  return tx.$queryRaw<AppendResult[]>`
    SELECT outcome, index::float8 AS index FROM ledger.ledger_append(
      true, ${raise},
      ${column(
        rows.map((row) => row.org_id),
        'text',
      )},
      ${column(
        rows.map((row) => row.id),
        'uuid',
      )},
      ${column(
        rows.map((row) => row.ts),
        'bigint',
      )},
      ${column(
        rows.map((row) => row.type),
        'text',
      )},
      ${column(
        rows.map((row) => row.agent_id),
        'text',
      )},
      ${column(
        rows.map((row) => row.action_key),
        'text',
      )},
      ${column(
        rows.map((row) => row.allowed),
        'boolean',
      )},
      ${column(
        rows.map((row) => row.decision_id),
        'uuid',
      )},
      ${column(
        rows.map((row) => row.versions.installation),
        'bigint',
      )},
      ${column(
        rows.map((row) => row.versions.organization),
        'bigint',
      )},
      ${column(
        rows.map((row) => row.versions.agent ?? null),
        'bigint',
      )},
      ${column(
        rows.map((row) => row.not_after),
        'bigint',
      )},
      ${column(
        rows.map((row) => row.entry.length),
        'integer',
      )},
      ${Buffer.concat(rows.map((row) => row.entry))},
      ${column(
        rows.map((row) => row.payload?.body.length ?? 0),
        'integer',
      )},
      ${Buffer.concat(rows.map((row) => row.payload?.body ?? EMPTY))},
      ${column(
        rows.map((row) => row.payload?.dek_id ?? null),
        'uuid',
      )}
    ) ORDER BY ord`
}

export interface Head {
  readonly origin: string
  readonly organization: number
  readonly installation: number
}

/** The log's origin and the versions that a control-plane entry must name. Null when the organization has no log. */
export async function selectHead(tx: Tx, org_id: string): Promise<Head | null> {
  const rows = await tx.$queryRaw<Head[]>`
    SELECT h.origin, h.org_version::float8 AS organization, c.version::float8 AS installation
    FROM ledger.ledger_head h, installation_config c WHERE h.org_id = ${org_id}`
  return rows[0] ?? null
}

/** Raises an agent's configuration version; holds its row until the commit. Null when there is no such agent. */
export async function raiseAgent(tx: Tx, org_id: string, agent_id: string): Promise<number | null> {
  const rows = await tx.$queryRaw<{ version: number }[]>`
    UPDATE agent_config SET version = version + 1, changed_xid = pg_current_xact_id()
    WHERE org_id = ${org_id} AND agent_id = ${agent_id} RETURNING version::float8 AS version`
  return rows[0]?.version ?? null
}

/** Both at once, for the nearly every change that raises one agent; null when there is no such agent or log. */
export async function raiseAgentAndSelectHead(
  tx: Tx,
  org_id: string,
  agent_id: string,
): Promise<(Head & { readonly agent: number }) | null> {
  const rows = await tx.$queryRaw<(Head & { agent: number })[]>`
    WITH raised AS (
      UPDATE agent_config SET version = version + 1, changed_xid = pg_current_xact_id()
      WHERE org_id = ${org_id} AND agent_id = ${agent_id} RETURNING version
    )
    SELECT h.origin, h.org_version::float8 AS organization, c.version::float8 AS installation,
           r.version::float8 AS agent
    FROM ledger.ledger_head h, installation_config c, raised r WHERE h.org_id = ${org_id}`
  return rows[0] ?? null
}

/** Opens the log of an organization that is being made in this transaction. */
export async function openLog(tx: Tx, org_id: string, origin: string): Promise<void> {
  await tx.$queryRaw`SELECT ledger.ledger_open(${org_id}, ${origin})::text AS opened`
}

export interface DataKeyRow {
  readonly dek_id: string
  readonly kek_id: string
  readonly wrapped: Buffer
}

/** The data key of an organization's month (first day, `YYYY-MM-01`): the stored one, else the given one is stored. */
export async function ensureDataKey(
  pool: Pool,
  org_id: string,
  month: string,
  fresh: DataKeyRow,
): Promise<DataKeyRow> {
  const { rows } = await pool.query<DataKeyRow>(
    'SELECT dek_id, kek_id, wrapped FROM ledger.ledger_data_key_ensure($1, $2, $3, $4, $5)',
    [org_id, month, fresh.dek_id, fresh.kek_id, fresh.wrapped],
  )
  const row = rows[0]
  if (!row) throw new Error('the data key was not stored')
  return row
}

/** The data key that sealed a payload, by its id. */
export async function findDataKey(
  pool: Pool,
  org_id: string,
  month: string,
  dek_id: string,
): Promise<DataKeyRow | null> {
  const { rows } = await pool.query<DataKeyRow>(
    'SELECT dek_id, kek_id, wrapped FROM ledger.ledger_data_key_find($1, $2, $3)',
    [org_id, month, dek_id],
  )
  return rows[0] ?? null
}

/** Whether this database takes writes and lets the decision path append: false on a standby or a read-only one. */
export async function selectWritable(pool: Pool): Promise<boolean> {
  const { rows } = await pool.query<{ writable: boolean }>({
    name: 'ledger_writable',
    text: `
      SELECT NOT pg_is_in_recovery() AND current_setting('transaction_read_only') = 'off'
             AND (SELECT count(*) FROM pg_proc p WHERE p.pronamespace = 'ledger'::regnamespace
                    AND p.proname IN ('ledger_append', 'ledger_append_alike')
                    AND has_function_privilege(p.oid, 'EXECUTE')) = 2 AS writable`,
  })
  return rows[0]?.writable ?? false
}

/** Makes the partitions from this month to `months_ahead` later; returns the first instant that has none (ms). */
export async function ensurePartitions(tx: Tx, months_ahead: number): Promise<number> {
  const rows = await tx.$queryRaw<{ until: number }[]>`
    SELECT (extract(epoch FROM ledger.ledger_ensure_partitions(CURRENT_TIMESTAMP, ${months_ahead}::integer)) * 1000)::float8 AS until`
  return rows[0]?.until ?? 0
}
