import type { Pool } from 'pg'

export interface DatabaseIdentity {
  login: string
  acts_as: string
  privileged: boolean
}

/** Who this pool's sessions are, and whether login or role stands above row-level security. */
export async function selectIdentity(pool: Pool): Promise<DatabaseIdentity> {
  const { rows } = await pool.query<DatabaseIdentity>(
    `SELECT session_user::text AS login, current_user::text AS acts_as,
            EXISTS (SELECT FROM pg_roles WHERE rolname IN (session_user, current_user) AND (rolsuper OR rolbypassrls)) AS privileged`,
  )
  const row = rows[0]
  if (!row) throw new Error('the database answered nothing about this session')
  return row
}

/** Tenant tables (those with an org_id) without enabled and forced row-level security or without a policy. */
export async function selectTablesWithoutWall(pool: Pool): Promise<string[]> {
  const { rows } = await pool.query<{ name: string }>(
    `SELECT format('%I.%I', n.nspname, c.relname) AS name
     FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname IN ('public', 'ledger') AND c.relkind IN ('r', 'p')
       AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'org_id' AND NOT a.attisdropped)
       AND NOT (c.relrowsecurity AND c.relforcerowsecurity
                AND (c.relispartition OR EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid)))
     ORDER BY 1`,
  )
  return rows.map((row) => row.name)
}

/** Ledger tables that one of the roles may UPDATE, DELETE or TRUNCATE. */
export async function selectMutableLedgerTables(pool: Pool, roles: readonly string[]): Promise<string[]> {
  const { rows } = await pool.query<{ name: string }>(
    `SELECT DISTINCT format('ledger.%I', c.relname) AS name
     FROM pg_class c, unnest($1::text[]) AS r (role)
     WHERE c.relnamespace = 'ledger'::regnamespace AND c.relkind IN ('r', 'p')
       AND has_table_privilege(r.role, c.oid, 'UPDATE, DELETE, TRUNCATE')
     ORDER BY 1`,
    [roles],
  )
  return rows.map((row) => row.name)
}

/** Entry and payload tables (parents, classes and months) whose refusing trigger is missing or not ALWAYS. */
export async function selectLedgerTablesWithoutTrigger(pool: Pool): Promise<string[]> {
  const { rows } = await pool.query<{ name: string }>(
    `SELECT format('ledger.%I', c.relname) AS name
     FROM pg_class c
     WHERE c.relnamespace = 'ledger'::regnamespace AND c.relkind IN ('r', 'p')
       AND (c.relname LIKE 'ledger\\_entry%' OR c.relname LIKE 'ledger\\_payload%')
       AND NOT EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tgname = 'append_only' AND t.tgenabled = 'A')
     ORDER BY 1`,
  )
  return rows.map((row) => row.name)
}

/** Which of the three settings behind "on disk before it is answered" is off for this session. */
export async function selectLooseDurability(pool: Pool): Promise<string[]> {
  const { rows } = await pool.query<{ name: string }>(
    `SELECT name FROM pg_settings
     WHERE (name IN ('fsync', 'full_page_writes') AND setting <> 'on') OR (name = 'synchronous_commit' AND setting IN ('off', 'local'))
     ORDER BY 1`,
  )
  return rows.map((row) => row.name)
}
