-- How an organization's people sign in through its own identity provider (OpenID Connect). One connection each.
CREATE TABLE single_sign_on (
  org_id        TEXT           NOT NULL,
  issuer        TEXT           NOT NULL,
  client_id     TEXT           NOT NULL,
  -- Sealed by LEDGER_KEK's key ring for this row.
  client_secret TEXT           NOT NULL,
  group_claim   TEXT           NOT NULL,
  group_roles   JSONB          NOT NULL,
  default_roles TEXT[]         NOT NULL,
  created_at    TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  updated_at    TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  updated_by    TEXT           NOT NULL,
  CONSTRAINT single_sign_on_pkey PRIMARY KEY (org_id),
  CONSTRAINT single_sign_on_org_id_fkey FOREIGN KEY (org_id) REFERENCES organizations (org_id) ON DELETE RESTRICT ON UPDATE RESTRICT,
  CONSTRAINT single_sign_on_client_secret_sealed CHECK (client_secret LIKE 'v1.%')
);
ALTER TABLE single_sign_on ENABLE ROW LEVEL SECURITY;
ALTER TABLE single_sign_on FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON single_sign_on TO agentguard_app
  USING (org_id = (SELECT NULLIF(current_setting('app.org_id', true), '')))
  WITH CHECK (org_id = (SELECT NULLIF(current_setting('app.org_id', true), '')));
GRANT SELECT, INSERT, UPDATE, DELETE ON single_sign_on TO agentguard_app;
