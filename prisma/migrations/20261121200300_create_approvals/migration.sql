-- Approvals: what people decide, how they do (workflows), and everything that happened to each.

-- A workflow that an organization wrote, in place of a shipped one or beside them.
CREATE TABLE workflows (
  org_id     TEXT           NOT NULL,
  name       TEXT           NOT NULL,
  version    INTEGER        NOT NULL,
  document   JSONB          NOT NULL,
  created_at TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  updated_at TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  updated_by TEXT           NOT NULL,
  CONSTRAINT workflows_pkey PRIMARY KEY (org_id, name),
  CONSTRAINT workflows_org_id_fkey FOREIGN KEY (org_id) REFERENCES organizations (org_id) ON DELETE RESTRICT ON UPDATE RESTRICT
);

-- How an organization lets approvals be decided. No row: as every new organization has it.
CREATE TABLE approval_settings (
  org_id             TEXT    NOT NULL,
  approve_on_timeout BOOLEAN NOT NULL DEFAULT false,
  CONSTRAINT approval_settings_pkey PRIMARY KEY (org_id),
  CONSTRAINT approval_settings_org_id_fkey FOREIGN KEY (org_id) REFERENCES organizations (org_id) ON DELETE RESTRICT ON UPDATE RESTRICT
);

-- Arguments and context are not here: they lie once, encrypted, beside the entry of the decision that waits
-- (ledger_payload), so that erasing them there is all there is to erase but `salt` and `waiting_for`.
CREATE TABLE approvals (
  org_id           TEXT           NOT NULL,
  approval_id      TEXT           NOT NULL,
  agent_id         TEXT           NOT NULL,
  key_id           TEXT           NOT NULL,
  status           TEXT           NOT NULL,
  -- A keyed hash of the request while it waits: the same request again finds the same approval.
  waiting_for      BYTEA,
  -- base64url of SHA-256 over salt and request; the salt is null once it was erased, and nothing fits any more.
  digest           TEXT           NOT NULL,
  salt             TEXT,
  action_raw       TEXT           NOT NULL,
  action_key       TEXT           NOT NULL,
  resource_raw     TEXT,
  resource_key     TEXT,
  environment      TEXT           NOT NULL,
  -- Why a person must decide, as the agent was told.
  request_reason   TEXT           NOT NULL,
  decision_id      UUID           NOT NULL,
  -- Frozen when it was asked for: how people decide, the rules that asked, and who may not approve.
  workflow         JSONB          NOT NULL,
  lifts            JSONB          NOT NULL,
  requesters       JSONB          NOT NULL,
  creators         JSONB          NOT NULL,
  level            INTEGER        NOT NULL DEFAULT 0,
  level_ends_at    TIMESTAMPTZ(3) NOT NULL,
  created_at       TIMESTAMPTZ(3) NOT NULL,
  decided_at       TIMESTAMPTZ(3),
  decided_by_kind  TEXT,
  decided_by       TEXT,
  decision_reason  TEXT,
  -- What approvers grant, or have voted for so far: null is exactly the one request, once.
  scope            JSONB,
  grant_uses       INTEGER,
  grant_seconds    INTEGER,
  grant_expires_at TIMESTAMPTZ(3),
  grant_used       INTEGER        NOT NULL DEFAULT 0,
  CONSTRAINT approvals_pkey PRIMARY KEY (org_id, approval_id),
  CONSTRAINT approvals_org_id_agent_id_fkey FOREIGN KEY (org_id, agent_id) REFERENCES agents (org_id, agent_id) ON DELETE RESTRICT ON UPDATE RESTRICT,
  CONSTRAINT approvals_status_known CHECK (status IN ('pending', 'approved', 'denied', 'expired', 'cancelled')),
  CONSTRAINT approvals_waiting_while_pending CHECK (waiting_for IS NULL OR status = 'pending'),
  -- The last wall against a second use: whatever the code believes, this row cannot say so.
  CONSTRAINT approvals_used_as_granted CHECK (grant_used = 0 OR (status = 'approved' AND grant_used <= grant_uses))
);
CREATE UNIQUE INDEX approvals_org_id_agent_id_waiting_for_key ON approvals (org_id, agent_id, waiting_for);
CREATE INDEX approvals_org_id_created_at_approval_id_idx ON approvals (org_id, created_at, approval_id);
CREATE INDEX approvals_org_id_agent_id_created_at_idx ON approvals (org_id, agent_id, created_at);
CREATE INDEX approvals_org_id_decision_id_idx ON approvals (org_id, decision_id);
CREATE INDEX approvals_status_level_ends_at_idx ON approvals (status, level_ends_at);

-- Everything that happened to an approval, oldest first. The log holds the same for ever.
CREATE TABLE approval_events (
  org_id      TEXT           NOT NULL,
  approval_id TEXT           NOT NULL,
  seq         INTEGER        NOT NULL,
  event       TEXT           NOT NULL,
  actor_kind  TEXT           NOT NULL,
  actor_id    TEXT           NOT NULL,
  -- Of a vote: who stands behind the credentials, and what it was.
  person      TEXT,
  vote        TEXT,
  reason      TEXT,
  level       INTEGER        NOT NULL,
  decision_id UUID,
  at          TIMESTAMPTZ(3) NOT NULL,
  CONSTRAINT approval_events_pkey PRIMARY KEY (org_id, approval_id, seq),
  CONSTRAINT approval_events_org_id_approval_id_fkey FOREIGN KEY (org_id, approval_id) REFERENCES approvals (org_id, approval_id) ON DELETE RESTRICT ON UPDATE RESTRICT
);

DO $$
DECLARE
  name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['workflows', 'approval_settings', 'approvals', 'approval_events'] LOOP
    EXECUTE format('ALTER TABLE public.%I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE public.%I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY tenant ON public.%I TO agentguard_app
      USING (org_id = (SELECT NULLIF(current_setting(''app.org_id'', true), '''')))
      WITH CHECK (org_id = (SELECT NULLIF(current_setting(''app.org_id'', true), '''')))', name);
  END LOOP;
END
$$;
GRANT SELECT, INSERT, UPDATE ON workflows, approval_settings, approvals TO agentguard_app;
-- A reason is people's text: it can be erased, nothing else of a past event can change.
GRANT SELECT, INSERT, UPDATE (reason) ON approval_events TO agentguard_app;

-- The workers look over all organizations for what is due and for what callers wait for; no request is in these columns.
CREATE POLICY configuration ON approvals FOR SELECT TO agentguard_hot USING (true);
GRANT SELECT (org_id, approval_id, agent_id, status, level_ends_at, grant_used) ON approvals TO agentguard_hot;
