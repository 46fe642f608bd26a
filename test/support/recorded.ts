import type { INestApplicationContext } from '@nestjs/common'
import type { ApprovalEntry, ConfigEntry } from '../../src/core/ledger/entry.js'
import { LedgerService, type StoredPayload } from '../../src/ledger/ledger.service.js'
import { Database } from '../../src/platform/database/database.service.js'
import { insist, PATIENT } from '../../src/platform/database/insist.js'

/** An entry of the log with its payload opened. */
export type Recorded<E = ConfigEntry> = E & {
  readonly index: number
  readonly opened: Record<string, unknown> | null
}

interface Row {
  index: number
  entry: string
  nonce: Uint8Array | null
  body: Uint8Array | null
  dek_id: string | null
}

/** The administrative entries of an organization's log, oldest first, as they lie in the database. */
export const recorded = (app: INestApplicationContext, org_id = 'org_default') =>
  recordedOf<ConfigEntry>(app, org_id, 'config')

/** What happened to approvals, oldest first. */
export const recordedApprovals = (app: INestApplicationContext, org_id = 'org_default') =>
  recordedOf<ApprovalEntry>(app, org_id, 'approval')

async function recordedOf<E extends ConfigEntry | ApprovalEntry>(
  app: INestApplicationContext,
  org_id: string,
  type: E['type'],
): Promise<Recorded<E>[]> {
  const { sealer } = app.get(LedgerService)
  const read = () =>
    app.get(Database).withOrg(
      { org_id },
      (tx) => tx.$queryRaw<Row[]>`
        SELECT e.index::float8 AS index, convert_from(e.entry, 'UTF8') AS entry, p.nonce, p.body,
               p.dek_id::text AS dek_id
        FROM ledger.ledger_entry e LEFT JOIN ledger.ledger_payload p USING (org_id, index)
        WHERE e.type = ${type} ORDER BY e.index`,
    )
  const rows = await insist(read, PATIENT)
  return Promise.all(
    rows.map(async ({ index, entry: text, nonce, body, dek_id }) => {
      const entry = JSON.parse(text) as E
      const stored = nonce && body && dek_id !== null ? { nonce, body, dek_id } : null
      const open = (payload: StoredPayload) =>
        insist(() => sealer.open(org_id, entry.log, entry.id, Date.parse(entry.ts), payload), PATIENT)
      const opened = stored && (await open(stored))
      return { ...entry, index, opened }
    }),
  )
}

/** How often each configuration version was raised: of the organization and of its agents. */
export async function versions(
  app: INestApplicationContext,
  org_id: string,
  agent_id = '',
): Promise<number[]> {
  const rows = await app.get(Database).withOrg(
    { org_id },
    (tx) => tx.$queryRaw<{ organization: number; agent: number }[]>`
      SELECT h.org_version::float8 AS organization,
             (SELECT c.version::float8 FROM agent_config c
              WHERE c.org_id = h.org_id AND c.agent_id = ${agent_id}) AS agent
      FROM ledger.ledger_head h WHERE h.org_id = ${org_id}`,
  )
  return rows.flatMap(({ organization, agent }) => [organization, agent])
}
