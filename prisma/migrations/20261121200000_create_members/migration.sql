-- People: members of an organization, their passwords and sessions, invitations, the links that make first owners, and
-- the counts of failed sign-ins.

CREATE TABLE members (
  org_id           TEXT           NOT NULL,
  member_id        TEXT           NOT NULL,
  email            TEXT           NOT NULL,
  name             TEXT           NOT NULL,
  roles            TEXT[]         NOT NULL,
  team             TEXT,
  is_active        BOOLEAN        NOT NULL DEFAULT true,
  -- Who the organization's identity provider says this is; null: never signed in through it.
  sso_issuer       TEXT,
  sso_subject      TEXT,
  last_login_at    TIMESTAMPTZ(3),
  created_at       TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  updated_at       TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  created_by       TEXT           NOT NULL,
  CONSTRAINT members_pkey PRIMARY KEY (org_id, member_id),
  CONSTRAINT members_org_id_fkey FOREIGN KEY (org_id) REFERENCES organizations (org_id) ON DELETE RESTRICT ON UPDATE RESTRICT,
  CONSTRAINT members_org_id_team_fkey FOREIGN KEY (org_id, team) REFERENCES teams (org_id, team) ON DELETE RESTRICT ON UPDATE RESTRICT,
  -- The service normalises; this keeps a writer that forgot to from making a second person of one address.
  CONSTRAINT members_email_normalised CHECK (email = lower(btrim(email)) AND email <> ''),
  CONSTRAINT members_roles_some CHECK (cardinality(roles) > 0),
  CONSTRAINT members_sso_whole CHECK ((sso_issuer IS NULL) = (sso_subject IS NULL))
);
CREATE UNIQUE INDEX members_org_id_email_key ON members (org_id, email);
CREATE UNIQUE INDEX members_org_id_sso_issuer_sso_subject_key ON members (org_id, sso_issuer, sso_subject);
CREATE INDEX members_email_idx ON members (email);

-- Apart from members, so that no query of people can show a hash. None: this person signs in another way.
CREATE TABLE member_passwords (
  org_id     TEXT           NOT NULL,
  member_id  TEXT           NOT NULL,
  hash       TEXT           NOT NULL,
  changed_at TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  CONSTRAINT member_passwords_pkey PRIMARY KEY (org_id, member_id),
  CONSTRAINT member_passwords_org_id_member_id_fkey FOREIGN KEY (org_id, member_id) REFERENCES members (org_id, member_id) ON DELETE RESTRICT ON UPDATE RESTRICT,
  CONSTRAINT member_passwords_argon2id CHECK (hash LIKE '$argon2id$%')
);

-- Sessions of browsers. Times are the database's: the limits hold whatever the clock of a replica says.
CREATE TABLE sessions (
  org_id       TEXT           NOT NULL,
  session_id   TEXT           NOT NULL,
  member_id    TEXT           NOT NULL,
  token_hash   TEXT           NOT NULL,
  method       TEXT           NOT NULL,
  user_agent   TEXT           NOT NULL DEFAULT '',
  address      TEXT           NOT NULL DEFAULT '',
  created_at   TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  last_seen_at TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  expires_at   TIMESTAMPTZ(3) NOT NULL,
  ended_at     TIMESTAMPTZ(3),
  CONSTRAINT sessions_pkey PRIMARY KEY (org_id, session_id),
  CONSTRAINT sessions_org_id_member_id_fkey FOREIGN KEY (org_id, member_id) REFERENCES members (org_id, member_id) ON DELETE RESTRICT ON UPDATE RESTRICT,
  CONSTRAINT sessions_method_known CHECK (method IN ('password', 'single_sign_on'))
);
CREATE UNIQUE INDEX sessions_token_hash_key ON sessions (token_hash);
CREATE INDEX sessions_org_id_member_id_idx ON sessions (org_id, member_id);

CREATE TABLE invitations (
  org_id        TEXT           NOT NULL,
  invitation_id TEXT           NOT NULL,
  email         TEXT           NOT NULL,
  roles         TEXT[]         NOT NULL,
  team          TEXT,
  token_hash    TEXT           NOT NULL,
  expires_at    TIMESTAMPTZ(3) NOT NULL,
  accepted_at   TIMESTAMPTZ(3),
  revoked_at    TIMESTAMPTZ(3),
  member_id     TEXT,
  created_at    TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  created_by    TEXT           NOT NULL,
  CONSTRAINT invitations_pkey PRIMARY KEY (org_id, invitation_id),
  CONSTRAINT invitations_org_id_fkey FOREIGN KEY (org_id) REFERENCES organizations (org_id) ON DELETE RESTRICT ON UPDATE RESTRICT,
  CONSTRAINT invitations_org_id_team_fkey FOREIGN KEY (org_id, team) REFERENCES teams (org_id, team) ON DELETE RESTRICT ON UPDATE RESTRICT,
  CONSTRAINT invitations_org_id_member_id_fkey FOREIGN KEY (org_id, member_id) REFERENCES members (org_id, member_id) ON DELETE RESTRICT ON UPDATE RESTRICT,
  CONSTRAINT invitations_email_normalised CHECK (email = lower(btrim(email)) AND email <> ''),
  CONSTRAINT invitations_roles_some CHECK (cardinality(roles) > 0),
  CONSTRAINT invitations_settled_once CHECK (accepted_at IS NULL OR revoked_at IS NULL)
);
CREATE UNIQUE INDEX invitations_token_hash_key ON invitations (token_hash);
CREATE INDEX invitations_org_id_email_idx ON invitations (org_id, email);

-- Links that make the first owner of an organization that has none.
CREATE TABLE setup_links (
  org_id     TEXT           NOT NULL,
  token_hash TEXT           NOT NULL,
  expires_at TIMESTAMPTZ(3) NOT NULL,
  used_at    TIMESTAMPTZ(3),
  revoked_at TIMESTAMPTZ(3),
  created_at TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  created_by TEXT           NOT NULL,
  CONSTRAINT setup_links_pkey PRIMARY KEY (org_id, token_hash),
  CONSTRAINT setup_links_org_id_fkey FOREIGN KEY (org_id) REFERENCES organizations (org_id) ON DELETE RESTRICT ON UPDATE RESTRICT
);
CREATE UNIQUE INDEX setup_links_token_hash_key ON setup_links (token_hash);

-- How often signing in failed, by account and by address. Of no organization: what is tried need not exist in any.
-- `subject` is a keyed hash, so that the table names nobody.
CREATE TABLE sign_in_failures (
  scope         TEXT           NOT NULL,
  subject       BYTEA          NOT NULL,
  failures      INTEGER        NOT NULL,
  blocked_until TIMESTAMPTZ(3) NOT NULL,
  last_at       TIMESTAMPTZ(3) NOT NULL,
  CONSTRAINT sign_in_failures_pkey PRIMARY KEY (scope, subject),
  CONSTRAINT sign_in_failures_scope_known CHECK (scope IN ('account', 'address'))
);
CREATE INDEX sign_in_failures_last_at_idx ON sign_in_failures (last_at);
GRANT SELECT, INSERT, UPDATE, DELETE ON sign_in_failures TO agentguard_app;

-- Row-level security as everywhere. What arrives before its organization is known (a session, the token of a link, an
-- address that wants to sign in) is looked up by the decision path's role, which may read these columns of every
-- organization and write nothing. Passwords are not among them.
DO $$
DECLARE
  name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['members', 'member_passwords', 'sessions', 'invitations', 'setup_links'] LOOP
    EXECUTE format('ALTER TABLE public.%I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE public.%I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY tenant ON public.%I TO agentguard_app
      USING (org_id = (SELECT NULLIF(current_setting(''app.org_id'', true), '''')))
      WITH CHECK (org_id = (SELECT NULLIF(current_setting(''app.org_id'', true), '''')))', name);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE ON public.%I TO agentguard_app', name);
    IF name <> 'member_passwords' THEN
      EXECUTE format('CREATE POLICY configuration ON public.%I FOR SELECT TO agentguard_hot USING (true)', name);
    END IF;
  END LOOP;
END
$$;
GRANT DELETE ON member_passwords, sessions TO agentguard_app;
GRANT SELECT (org_id, member_id, email, roles, team, is_active, created_at) ON members TO agentguard_hot;
GRANT SELECT (org_id, session_id, member_id, token_hash, last_seen_at, expires_at, ended_at) ON sessions TO agentguard_hot;
GRANT SELECT (org_id, token_hash) ON invitations, setup_links TO agentguard_hot;
