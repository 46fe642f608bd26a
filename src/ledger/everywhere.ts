import { randomBytes } from 'node:crypto'
import type { Pool } from 'pg'
import { type Actor, encodeEntry, type KillEntry } from '../core/ledger/entry.js'
import { uuidv7 } from '../core/ids.js'
import type { Tx } from '../platform/database/database.service.js'
import * as queries from './everywhere.queries.js'

export { lockInstallation } from './everywhere.queries.js'

/** What is written into the log of every organization. */
export type EverywhereChange = Pick<KillEntry, 'event' | 'kill'> & {
  readonly actor: Actor
  readonly request_id: string | undefined
}

/**
 * Writes an installation-wide kill switch into every log and raises the installation's version, in one transaction
 * (ADR 0005). The caller holds the installation's lock, so nothing moves between the look and the append.
 * @param reader reads the heads of all logs, which the transaction's own role may not
 */
export async function appendEverywhere(
  tx: Tx,
  reader: Pool,
  now: number,
  { event, kill, actor, request_id }: EverywhereChange,
): Promise<void> {
  const heads = await queries.selectHeads(reader)
  const [first] = heads
  if (!first) throw new Error('there is no log')
  const installation = first.installation + 1
  const ts = new Date(now).toISOString()
  const rows = heads.map(({ org_id, origin, organization }): queries.EverywhereRow => {
    const id = uuidv7(now, randomBytes(10))
    const entry: KillEntry = {
      v: 1,
      log: origin,
      id,
      ts,
      type: 'kill',
      event,
      actor,
      config: { installation, organization },
      kill,
      ...(request_id !== undefined && { request_id }),
    }
    return { org_id, id, organization, entry: Buffer.from(encodeEntry(entry)) }
  })
  if (!(await queries.appendEverywhere(tx, rows, now, installation)))
    throw new Error('a log moved while the installation was locked')
}

/** The installation-wide switch that the log of a new organization begins with; null when there is none. */
export async function activeInstallationKill(tx: Tx): Promise<Pick<KillEntry, 'event' | 'kill'> | null> {
  const found = await tx.installationKill.findFirst({ where: { deactivated_at: null } })
  return (
    found && {
      event: 'kill_switch.activated',
      kill: { id: found.kill_id, op: 'activated', scope: 'installation', reason: found.reason },
    }
  )
}
