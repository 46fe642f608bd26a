-- Organizations, agents, keys and policies. Every tenant table starts its key with org_id, refers to others by
-- composite keys, and carries row-level security as the second wall behind the services' own checks.

CREATE TABLE installation_config (
  singleton       BOOLEAN     NOT NULL DEFAULT true,
  installation_id UUID        NOT NULL,
  version         BIGINT      NOT NULL DEFAULT 1,
  created_at      TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  CONSTRAINT installation_config_pkey PRIMARY KEY (singleton),
  CONSTRAINT installation_config_one CHECK (singleton)
);
INSERT INTO installation_config (installation_id) VALUES (gen_random_uuid());

CREATE TABLE organizations (
  org_id     TEXT           NOT NULL,
  name       TEXT           NOT NULL,
  is_active  BOOLEAN        NOT NULL DEFAULT true,
  created_at TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  updated_at TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  CONSTRAINT organizations_pkey PRIMARY KEY (org_id)
);

CREATE TABLE admin_keys (
  org_id       TEXT           NOT NULL,
  admin_id     TEXT           NOT NULL,
  name         TEXT           NOT NULL,
  role         TEXT           NOT NULL,
  key_hash     TEXT           NOT NULL,
  key_prefix   TEXT           NOT NULL,
  expires_at   TIMESTAMPTZ(3),
  revoked_at   TIMESTAMPTZ(3),
  last_used_at TIMESTAMPTZ(3),
  created_at   TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  created_by   TEXT           NOT NULL,
  CONSTRAINT admin_keys_pkey PRIMARY KEY (org_id, admin_id),
  CONSTRAINT admin_keys_org_id_fkey FOREIGN KEY (org_id) REFERENCES organizations (org_id) ON DELETE RESTRICT ON UPDATE RESTRICT,
  CONSTRAINT admin_keys_role_known CHECK (role IN ('owner', 'admin', 'operator', 'developer', 'auditor', 'approver'))
);
CREATE UNIQUE INDEX admin_keys_key_hash_key ON admin_keys (key_hash);

CREATE TABLE teams (
  org_id     TEXT           NOT NULL,
  team       TEXT           NOT NULL,
  created_at TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  CONSTRAINT teams_pkey PRIMARY KEY (org_id, team),
  CONSTRAINT teams_org_id_fkey FOREIGN KEY (org_id) REFERENCES organizations (org_id) ON DELETE RESTRICT ON UPDATE RESTRICT
);

CREATE TABLE agents (
  org_id      TEXT           NOT NULL,
  agent_id    TEXT           NOT NULL,
  name        TEXT           NOT NULL,
  owner_team  TEXT           NOT NULL,
  environment TEXT           NOT NULL,
  is_active   BOOLEAN        NOT NULL DEFAULT true,
  created_at  TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  updated_at  TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  CONSTRAINT agents_pkey PRIMARY KEY (org_id, agent_id),
  CONSTRAINT agents_org_id_fkey FOREIGN KEY (org_id) REFERENCES organizations (org_id) ON DELETE RESTRICT ON UPDATE RESTRICT,
  CONSTRAINT agents_org_id_owner_team_fkey FOREIGN KEY (org_id, owner_team) REFERENCES teams (org_id, team) ON DELETE RESTRICT ON UPDATE RESTRICT,
  CONSTRAINT agents_environment_known CHECK (environment IN ('dev', 'stage', 'prod'))
);
CREATE INDEX agents_org_id_created_at_agent_id_idx ON agents (org_id, created_at, agent_id);

-- The agent's configuration version (ledger.md, Versions). changed_xid lets a replica poll for what changed
-- since the oldest transaction that was still running at its last look, so that no late commit is missed.
CREATE TABLE agent_config (
  org_id      TEXT   NOT NULL,
  agent_id    TEXT   NOT NULL,
  version     BIGINT NOT NULL DEFAULT 1,
  changed_xid XID8   NOT NULL DEFAULT pg_current_xact_id(),
  CONSTRAINT agent_config_pkey PRIMARY KEY (org_id, agent_id),
  CONSTRAINT agent_config_org_id_agent_id_fkey FOREIGN KEY (org_id, agent_id) REFERENCES agents (org_id, agent_id) ON DELETE RESTRICT ON UPDATE RESTRICT
);
CREATE INDEX agent_config_changed_xid_idx ON agent_config (changed_xid);

CREATE TABLE agent_keys (
  org_id       TEXT           NOT NULL,
  key_id       TEXT           NOT NULL,
  agent_id     TEXT           NOT NULL,
  key_hash     TEXT           NOT NULL,
  key_prefix   TEXT           NOT NULL,
  expires_at   TIMESTAMPTZ(3),
  revoked_at   TIMESTAMPTZ(3),
  last_used_at TIMESTAMPTZ(3),
  created_at   TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  created_by   TEXT           NOT NULL,
  CONSTRAINT agent_keys_pkey PRIMARY KEY (org_id, key_id),
  CONSTRAINT agent_keys_org_id_agent_id_fkey FOREIGN KEY (org_id, agent_id) REFERENCES agents (org_id, agent_id) ON DELETE RESTRICT ON UPDATE RESTRICT
);
CREATE UNIQUE INDEX agent_keys_key_hash_key ON agent_keys (key_hash);
CREATE INDEX agent_keys_org_id_agent_id_idx ON agent_keys (org_id, agent_id);

-- policies says which version is current; policy_versions keeps every version that ever was.
CREATE TABLE policies (
  org_id     TEXT           NOT NULL,
  policy_id  TEXT           NOT NULL,
  scope      TEXT           NOT NULL,
  agent_id   TEXT,
  team       TEXT,
  version    INTEGER        NOT NULL,
  created_at TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  updated_at TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  CONSTRAINT policies_pkey PRIMARY KEY (org_id, policy_id),
  CONSTRAINT policies_org_id_fkey FOREIGN KEY (org_id) REFERENCES organizations (org_id) ON DELETE RESTRICT ON UPDATE RESTRICT,
  CONSTRAINT policies_org_id_agent_id_fkey FOREIGN KEY (org_id, agent_id) REFERENCES agents (org_id, agent_id) ON DELETE RESTRICT ON UPDATE RESTRICT,
  CONSTRAINT policies_org_id_team_fkey FOREIGN KEY (org_id, team) REFERENCES teams (org_id, team) ON DELETE RESTRICT ON UPDATE RESTRICT,
  CONSTRAINT policies_scope_fits CHECK (
    (scope = 'agent' AND agent_id IS NOT NULL AND team IS NULL)
    OR (scope = 'team' AND team IS NOT NULL AND agent_id IS NULL)
    OR (scope = 'organization' AND agent_id IS NULL AND team IS NULL)
  )
);
CREATE UNIQUE INDEX policies_org_id_agent_id_key ON policies (org_id, agent_id);
CREATE UNIQUE INDEX policies_org_id_team_key ON policies (org_id, team);

CREATE TABLE policy_versions (
  org_id       TEXT           NOT NULL,
  policy_id    TEXT           NOT NULL,
  version      INTEGER        NOT NULL,
  document     JSONB          NOT NULL,
  sha256       TEXT           NOT NULL,
  rollback_of  INTEGER,
  created_at   TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  created_by   TEXT           NOT NULL,
  CONSTRAINT policy_versions_pkey PRIMARY KEY (org_id, policy_id, version),
  CONSTRAINT policy_versions_org_id_policy_id_fkey FOREIGN KEY (org_id, policy_id) REFERENCES policies (org_id, policy_id) ON DELETE RESTRICT ON UPDATE RESTRICT
);

CREATE TABLE idempotency_keys (
  org_id      TEXT           NOT NULL,
  principal   TEXT           NOT NULL,
  key         TEXT           NOT NULL,
  fingerprint BYTEA          NOT NULL,
  status      INTEGER,
  body        JSONB,
  created_at  TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  expires_at  TIMESTAMPTZ(3) NOT NULL,
  CONSTRAINT idempotency_keys_pkey PRIMARY KEY (org_id, principal, key)
);
CREATE INDEX idempotency_keys_expires_at_idx ON idempotency_keys (expires_at);

-- Row-level security: the application sees one organization at a time; the decision path may read every
-- organization's configuration and write none of it.
DO $$
DECLARE
  name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['organizations', 'admin_keys', 'teams', 'agents', 'agent_config', 'agent_keys',
                              'policies', 'policy_versions', 'idempotency_keys'] LOOP
    EXECUTE format('ALTER TABLE public.%I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE public.%I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY tenant ON public.%I TO agentguard_app
      USING (org_id = (SELECT NULLIF(current_setting(''app.org_id'', true), '''')))
      WITH CHECK (org_id = (SELECT NULLIF(current_setting(''app.org_id'', true), '''')))', name);
    IF name <> 'idempotency_keys' THEN
      EXECUTE format('CREATE POLICY configuration ON public.%I FOR SELECT TO agentguard_hot USING (true)', name);
      EXECUTE format('GRANT SELECT ON public.%I TO agentguard_hot', name);
    END IF;
  END LOOP;
END
$$;

GRANT SELECT ON installation_config TO agentguard_app, agentguard_hot, agentguard_ledger;
GRANT SELECT, INSERT, UPDATE ON organizations, admin_keys, agents, agent_config, agent_keys, policies TO agentguard_app;
GRANT SELECT, INSERT ON teams, policy_versions TO agentguard_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON idempotency_keys TO agentguard_app;

-- The append function reads the agent's version under the head lock.
CREATE POLICY ledger ON agent_config FOR SELECT TO agentguard_ledger USING (true);
GRANT SELECT ON agent_config TO agentguard_ledger;
