-- How far the decisions that an agent made by itself are in the log: one row for each spool that an agent writes them
-- into. The row is moved in the transaction that appends their entries, so that none is entered twice or left out.

CREATE TABLE local_spools (
  org_id     TEXT           NOT NULL,
  agent_id   TEXT           NOT NULL,
  spool      UUID           NOT NULL,
  -- The number of the decision that comes next.
  next_seq   BIGINT         NOT NULL,
  updated_at TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  CONSTRAINT local_spools_pkey PRIMARY KEY (org_id, agent_id, spool),
  CONSTRAINT local_spools_org_id_agent_id_fkey FOREIGN KEY (org_id, agent_id) REFERENCES agents (org_id, agent_id) ON DELETE RESTRICT ON UPDATE RESTRICT
);

ALTER TABLE local_spools ENABLE ROW LEVEL SECURITY;
ALTER TABLE local_spools FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON local_spools TO agentguard_app
  USING (org_id = (SELECT NULLIF(current_setting('app.org_id', true), '')))
  WITH CHECK (org_id = (SELECT NULLIF(current_setting('app.org_id', true), '')));
GRANT SELECT, INSERT, UPDATE ON local_spools TO agentguard_app;
