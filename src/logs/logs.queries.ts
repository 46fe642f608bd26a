import { Prisma } from '../generated/prisma/client.js'
import type { Tx } from '../platform/database/database.service.js'

/** What to list; undefined members do not filter. */
export interface LogFilter {
  readonly org_id: string
  readonly agent_id?: string | undefined
  /** Regular expression over the action key, anchored; made by us from a glob, never taken from a caller. */
  readonly action_regex?: string | undefined
  readonly action_key?: string | undefined
  readonly allowed?: boolean | undefined
  readonly start_time?: Date | undefined
  readonly end_time?: Date | undefined
  readonly types: readonly string[]
  readonly log_id?: string | undefined
  readonly decision_id?: string | undefined
  /** Only entries about agents that this team owns now. */
  readonly team?: string | undefined
}

export interface EntryRow {
  index: number
  entry: Uint8Array
}

export interface PayloadRow {
  index: number
  nonce: Uint8Array
  body: Uint8Array
  dek_id: string
}

function where(filter: LogFilter): Prisma.Sql {
  const conditions = [Prisma.sql`org_id = ${filter.org_id}`]
  if (filter.types.length > 0) conditions.push(Prisma.sql`type IN (${Prisma.join([...filter.types])})`)
  if (filter.agent_id !== undefined) conditions.push(Prisma.sql`agent_id = ${filter.agent_id}`)
  if (filter.team !== undefined) {
    conditions.push(
      Prisma.sql`agent_id IN (SELECT agent_id FROM agents WHERE org_id = ${filter.org_id} AND owner_team = ${filter.team})`,
    )
  }
  if (filter.action_key !== undefined) conditions.push(Prisma.sql`action_key = ${filter.action_key}`)
  if (filter.action_regex !== undefined) conditions.push(Prisma.sql`action_key ~ ${filter.action_regex}`)
  // In words and not as a parameter, so that PostgreSQL sees which index answers `NOT allowed`.
  if (filter.allowed !== undefined)
    conditions.push(filter.allowed ? Prisma.sql`allowed` : Prisma.sql`NOT allowed`)
  if (filter.log_id !== undefined) conditions.push(Prisma.sql`id = ${filter.log_id}::uuid`)
  if (filter.decision_id !== undefined) {
    // An array of the few indexes, so that PostgreSQL looks them up instead of walking down the log for them.
    const { org_id, decision_id } = filter
    conditions.push(Prisma.sql`index = ANY (ARRAY(
      SELECT index FROM ledger.ledger_entry WHERE org_id = ${org_id} AND id = ${decision_id}::uuid
      UNION ALL
      SELECT index FROM ledger.ledger_entry WHERE org_id = ${org_id} AND decision_id = ${decision_id}::uuid))`)
  }
  // The bound on the id says the same as the one on ts, and lets PostgreSQL leave whole months out.
  if (filter.start_time !== undefined) {
    conditions.push(Prisma.sql`ts >= ${filter.start_time} AND id >= ledger.uuid_floor(${filter.start_time})`)
  }
  if (filter.end_time !== undefined) {
    const after = new Date(filter.end_time.getTime() + 1)
    conditions.push(Prisma.sql`ts <= ${filter.end_time} AND id < ledger.uuid_floor(${after})`)
  }
  return Prisma.join(conditions, ' AND ')
}

/**
 * Entries newest first, from below `before` (exclusive) when given. By the column, which has an index: a bare `index`
 * would be the converted output column, for which the whole log is read and sorted.
 */
export async function selectEntries(
  tx: Tx,
  filter: LogFilter,
  page: { limit: number; offset: number; before: number | undefined },
): Promise<EntryRow[]> {
  const before = page.before === undefined ? Prisma.empty : Prisma.sql` AND index < ${page.before}`
  return tx.$queryRaw<EntryRow[]>`
    SELECT index::float8 AS index, entry FROM ledger.ledger_entry AS e
    WHERE ${where(filter)}${before} ORDER BY e.index DESC LIMIT ${page.limit} OFFSET ${page.offset}`
}

/** How many entries match, counted to `most` and no further. */
export async function countEntries(tx: Tx, filter: LogFilter, most: number): Promise<number> {
  const rows = await tx.$queryRaw<{ count: number }[]>`
    SELECT count(*)::integer AS count FROM (
      SELECT FROM ledger.ledger_entry WHERE ${where(filter)} LIMIT ${most}
    ) AS counted`
  return rows[0]?.count ?? 0
}

/**
 * The sealed payloads of these entries; erased ones are missing. `months` leaves out other partitions. From the newest
 * on they have at most `most` bytes together, the first whatever it has: the body of the others is null, and unread.
 */
export async function selectPayloads(
  tx: Tx,
  org_id: string,
  indexes: readonly number[],
  months: readonly string[],
  most: number,
): Promise<(Omit<PayloadRow, 'body'> & { readonly body: PayloadRow['body'] | null })[]> {
  if (indexes.length === 0) return []
  return tx.$queryRaw`
    SELECT index::float8 AS index, nonce, dek_id::text AS dek_id,
      CASE WHEN sum(octet_length(body)) OVER newest <= ${most} OR row_number() OVER newest = 1 THEN body END AS body
    FROM ledger.ledger_payload
    WHERE org_id = ${org_id} AND index IN (${Prisma.join([...indexes])})
      AND month IN (${Prisma.join(months.map((month) => Prisma.sql`${month}::date`))})
    WINDOW newest AS (ORDER BY index DESC)`
}

/** The verdict of one of the agent's own decisions; null when it has none with this id. */
export async function selectDecision(
  tx: Tx,
  org_id: string,
  agent_id: string,
  decision_id: string,
): Promise<{ allowed: boolean } | null> {
  const rows = await tx.$queryRaw<{ allowed: boolean }[]>`
    SELECT allowed FROM ledger.ledger_entry
    WHERE org_id = ${org_id} AND id = ${decision_id}::uuid AND agent_id = ${agent_id} AND type = 'decision'`
  return rows[0] ?? null
}
