-- Tokens: short-lived JWTs made from a key. The keys that sign them belong to the installation, not to a tenant.
CREATE TABLE token_signing_keys (
  kid        TEXT           NOT NULL,
  alg        TEXT           NOT NULL,
  public_jwk JSONB          NOT NULL,
  -- The private JWK, sealed by LEDGER_KEK's key ring for this row.
  sealed     TEXT           NOT NULL,
  created_at TIMESTAMPTZ(3) NOT NULL,
  -- From here on it signs nothing new.
  retired_at TIMESTAMPTZ(3),
  -- From here on nothing that it signed is accepted: the longest token has ended.
  ends_at    TIMESTAMPTZ(3),
  CONSTRAINT token_signing_keys_pkey PRIMARY KEY (kid),
  CONSTRAINT token_signing_keys_alg_known CHECK (alg IN ('EdDSA', 'RS256')),
  CONSTRAINT token_signing_keys_sealed CHECK (sealed LIKE 'v1.%'),
  CONSTRAINT token_signing_keys_retired_ends CHECK ((retired_at IS NULL) = (ends_at IS NULL))
);
-- One key an algorithm signs: of replicas that make the first one at once, one does.
CREATE UNIQUE INDEX token_signing_keys_active_key ON token_signing_keys (alg) WHERE retired_at IS NULL;
-- The application's role makes, retires and seals anew; it cannot read what is sealed. The decision path's role reads.
GRANT SELECT (kid, alg, created_at, retired_at, ends_at), INSERT, UPDATE (sealed, retired_at, ends_at), DELETE
  ON token_signing_keys TO agentguard_app;
GRANT SELECT ON token_signing_keys TO agentguard_hot;

-- Tokens that were ended before their time, kept until that time.
CREATE TABLE revoked_tokens (
  org_id     TEXT           NOT NULL,
  jti        UUID           NOT NULL,
  expires_at TIMESTAMPTZ(3) NOT NULL,
  revoked_at TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  CONSTRAINT revoked_tokens_pkey PRIMARY KEY (org_id, jti),
  CONSTRAINT revoked_tokens_org_id_fkey FOREIGN KEY (org_id) REFERENCES organizations (org_id) ON DELETE RESTRICT ON UPDATE RESTRICT
);
CREATE INDEX revoked_tokens_org_id_expires_at_idx ON revoked_tokens (org_id, expires_at);
ALTER TABLE revoked_tokens ENABLE ROW LEVEL SECURITY;
ALTER TABLE revoked_tokens FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON revoked_tokens TO agentguard_app
  USING (org_id = (SELECT NULLIF(current_setting('app.org_id', true), '')))
  WITH CHECK (org_id = (SELECT NULLIF(current_setting('app.org_id', true), '')));
CREATE POLICY configuration ON revoked_tokens FOR SELECT TO agentguard_hot USING (true);
GRANT SELECT, INSERT, DELETE ON revoked_tokens TO agentguard_app;
GRANT SELECT (org_id, jti) ON revoked_tokens TO agentguard_hot;
