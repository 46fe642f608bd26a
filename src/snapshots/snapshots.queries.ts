import type { Pool } from 'pg'
import type { Environment } from '../core/policy/stage.js'
import type { KillFact } from '../core/policy/stages/kill.js'

export interface AgentRow {
  org_id: string
  agent_id: string
  environment: Environment
  owner_team: string
  origin: string
  installation: number
  organization: number
  agent: number
  key_id: string
  /** Milliseconds; null: the key does not expire. */
  not_after: number | null
  /** The kill switches that are active for this key; null: none. */
  kills: KillFact[] | null
  policies: PolicyRow[] | null
}

export interface PolicyRow {
  scope: 'organization' | 'team' | 'agent'
  id: string
  version: number
  sha256: string
  /** Of a short policy that is this agent's alone: nobody will have loaded it before, and it saves a query. */
  document: unknown
}

/** What an `AgentRow` is made of, given `k` (a key), `a` (its agent), `h`, `c` and `i`. */
const AGENT_COLUMNS = `
  SELECT a.org_id, a.agent_id, a.environment, a.owner_team, h.origin,
         i.version::float8 AS installation, h.org_version::float8 AS organization, c.version::float8 AS agent,
         k.key_id, (extract(epoch FROM k.expires_at) * 1000)::float8 AS not_after,
         (SELECT json_agg(json_strip_nulls(json_build_object('id', s.kill_id, 'scope', s.scope, 'target',
                            COALESCE(s.environment, s.team, s.key_id, s.agent_id, s.action))))
          FROM (SELECT org_id, kill_id, scope, environment, team, agent_id, key_id, action FROM kill_switches
                WHERE deactivated_at IS NULL
                UNION ALL
                SELECT a.org_id, kill_id, 'installation', NULL, NULL, NULL, NULL, NULL FROM installation_kills
                WHERE deactivated_at IS NULL) s
          WHERE s.org_id = a.org_id
            AND (s.environment IS NULL OR s.environment = a.environment) AND (s.team IS NULL OR s.team = a.owner_team)
            AND (s.agent_id IS NULL OR s.agent_id = a.agent_id) AND (s.key_id IS NULL OR s.key_id = k.key_id)) AS kills,
         (SELECT json_agg(json_build_object('scope', p.scope, 'id', p.policy_id, 'version', p.version, 'sha256', v.sha256,
                            'document', CASE WHEN p.scope = 'agent' AND pg_column_size(v.document) <= 4096 THEN v.document END)
                          ORDER BY array_position(ARRAY['organization', 'team', 'agent'], p.scope))
          -- Not one OR: no index serves it, and every agent's policy would be looked at for each agent.
          FROM (SELECT scope, policy_id, version FROM policies WHERE org_id = a.org_id AND agent_id = a.agent_id
                UNION ALL
                SELECT scope, policy_id, version FROM policies
                WHERE org_id = a.org_id AND agent_id IS NULL AND (scope = 'organization' OR team = a.owner_team)) p
          JOIN policy_versions v ON v.org_id = a.org_id AND v.policy_id = p.policy_id AND v.version = p.version) AS policies`

/** By key; `$1` is its hash. */
export const AGENT_BY_KEY = `${AGENT_COLUMNS}
      FROM agent_keys k
      JOIN agents a USING (org_id, agent_id)
      JOIN organizations o USING (org_id)
      JOIN agent_config c USING (org_id, agent_id)
      JOIN ledger.ledger_head h USING (org_id)
      CROSS JOIN installation_config i
      WHERE k.key_hash = $1 AND k.revoked_at IS NULL AND a.is_active AND o.is_active
        AND (k.expires_at IS NULL OR (extract(epoch FROM k.expires_at) * 1000)::bigint > ledger.now_ms())`

/**
 * Everything a decision about the holder of this key is made from, with the versions it was read at. One statement,
 * so one snapshot of the database: versions and contents belong together. Null unless key, agent and organization
 * are active. Expiry is not judged here: the database's clock does, when the entry is appended. It looks at no other
 * agent, however many there are.
 */
export async function selectAgentByKey(pool: Pool, key_hash: string): Promise<AgentRow | null> {
  const { rows } = await pool.query<AgentRow>({
    name: 'agent_by_key',
    text: AGENT_BY_KEY,
    values: [key_hash],
  })
  return rows[0] ?? null
}

/** The same about an agent, whichever key asks: kill switches of single keys are not among it. */
export async function selectAgent(pool: Pool, org_id: string, agent_id: string): Promise<AgentRow | null> {
  const { rows } = await pool.query<AgentRow>(
    `${AGENT_COLUMNS}
      FROM agents a
      CROSS JOIN (SELECT '' AS key_id, NULL::timestamptz AS expires_at) k
      JOIN organizations o USING (org_id)
      JOIN agent_config c USING (org_id, agent_id)
      JOIN ledger.ledger_head h USING (org_id)
      CROSS JOIN installation_config i
      WHERE a.org_id = $1 AND a.agent_id = $2 AND a.is_active AND o.is_active`,
    [org_id, agent_id],
  )
  return rows[0] ?? null
}

/** The digest of one version of a policy. */
export async function selectPolicyDigest(
  pool: Pool,
  org_id: string,
  policy_id: string,
  version: number,
): Promise<string | undefined> {
  const { rows } = await pool.query<{ sha256: string }>(
    'SELECT sha256 FROM policy_versions WHERE org_id = $1 AND policy_id = $2 AND version = $3',
    [org_id, policy_id, version],
  )
  return rows[0]?.sha256
}

/** One version of a policy as it was written. Versions never change, so this may be read at another moment. */
export async function selectPolicyDocument(
  pool: Pool,
  org_id: string,
  policy_id: string,
  version: number,
): Promise<unknown> {
  const { rows } = await pool.query<{ document: unknown }>({
    name: 'policy_document',
    text: 'SELECT document FROM policy_versions WHERE org_id = $1 AND policy_id = $2 AND version = $3',
    values: [org_id, policy_id, version],
  })
  return rows[0]?.document
}

export interface VersionsRow {
  installation: number
  organization: number
  agent: number
}

/** The present versions behind one agent; null when agent or organization is not active. */
export async function selectVersions(
  pool: Pool,
  org_id: string,
  agent_id: string,
): Promise<VersionsRow | null> {
  const { rows } = await pool.query<VersionsRow>({
    name: 'agent_versions',
    text: `
      SELECT i.version::float8 AS installation, h.org_version::float8 AS organization, c.version::float8 AS agent
      FROM agent_config c JOIN ledger.ledger_head h USING (org_id) CROSS JOIN installation_config i
      WHERE c.org_id = $1 AND c.agent_id = $2`,
    values: [org_id, agent_id],
  })
  return rows[0] ?? null
}

export interface ChangesRow {
  /** Every transaction below this one has ended: what it changed is visible, so the next poll starts here. */
  xmin: string
  now_ms: number
  installation: number
  agents: [org_id: string, agent_id: string, version: number][] | null
  organizations: [org_id: string, version: number][] | null
}

/** What changed since transaction `since`, and the present versions of the organizations named. */
export async function selectChanges(
  pool: Pool,
  since: string,
  org_ids: readonly string[],
): Promise<ChangesRow> {
  const { rows } = await pool.query<ChangesRow>({
    name: 'configuration_changes',
    text: `
      SELECT pg_snapshot_xmin(pg_current_snapshot())::text AS xmin, ledger.now_ms()::float8 AS now_ms,
             (SELECT version::float8 FROM installation_config) AS installation,
             (SELECT json_agg(json_build_array(org_id, agent_id, version)) FROM agent_config
              WHERE changed_xid >= $1::text::xid8) AS agents,
             (SELECT json_agg(json_build_array(org_id, org_version)) FROM ledger.ledger_head
              WHERE org_id = ANY ($2::text[])) AS organizations`,
    values: [since, org_ids],
  })
  const row = rows[0]
  if (!row) throw new Error('the poll for changes answered nothing')
  return row
}

/** Where the first poll starts. */
export async function selectXmin(pool: Pool): Promise<string> {
  const { rows } = await pool.query<{ xmin: string }>(
    'SELECT pg_snapshot_xmin(pg_current_snapshot())::text AS xmin',
  )
  return rows[0]?.xmin ?? '0'
}
