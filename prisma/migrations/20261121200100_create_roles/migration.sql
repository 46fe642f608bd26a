-- Roles of an organization's own beside the built-in ones, and administrator keys that are held to one team.

-- The roles that every organization has (src/core/permissions.ts; a test holds the two lists equal). Whoever adds one
-- replaces this function in a migration, and renames roles of organizations that bear the new name.
CREATE FUNCTION is_builtin_role(p_role text) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = '' AS $$
  SELECT p_role IN ('owner', 'admin', 'operator', 'developer', 'auditor', 'approver', 'viewer')
$$;

CREATE TABLE roles (
  org_id      TEXT           NOT NULL,
  role        TEXT           NOT NULL,
  description TEXT           NOT NULL DEFAULT '',
  permissions TEXT[]         NOT NULL,
  created_at  TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  updated_at  TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  created_by  TEXT           NOT NULL,
  CONSTRAINT roles_pkey PRIMARY KEY (org_id, role),
  CONSTRAINT roles_org_id_fkey FOREIGN KEY (org_id) REFERENCES organizations (org_id) ON DELETE RESTRICT ON UPDATE RESTRICT,
  -- A role of an organization must never be taken for a built-in one, which may do more.
  CONSTRAINT roles_role_own CHECK (NOT is_builtin_role(role))
);

-- The permissions that roles of the organization's own add to a holder of these roles: looked up by whoever
-- authenticates, in the statement that finds the credential, so that a change holds from the next request on.
-- What the built-in ones give stands in the code.
CREATE FUNCTION own_role_permissions(p_org_id text, p_roles text[]) RETURNS text[] LANGUAGE sql STABLE AS $$
  SELECT COALESCE(array_agg(DISTINCT p.permission), '{}')
  FROM public.roles r, unnest(r.permissions) AS p (permission)
  WHERE r.org_id = p_org_id AND r.role = ANY (p_roles)
$$;

-- The role of an administrator key is a built-in one, or one of its organization that exists while the key works:
-- the reference to it is null for built-in roles, and ends when the key is revoked.
ALTER TABLE admin_keys
  DROP CONSTRAINT admin_keys_role_known,
  ADD COLUMN team TEXT,
  ADD COLUMN own_role TEXT GENERATED ALWAYS AS
    (CASE WHEN revoked_at IS NULL AND NOT is_builtin_role(role) THEN role END) STORED,
  ADD CONSTRAINT admin_keys_org_id_team_fkey FOREIGN KEY (org_id, team) REFERENCES teams (org_id, team) ON DELETE RESTRICT ON UPDATE RESTRICT,
  ADD CONSTRAINT admin_keys_org_id_own_role_fkey FOREIGN KEY (org_id, own_role) REFERENCES roles (org_id, role) ON DELETE RESTRICT ON UPDATE RESTRICT;
CREATE INDEX admin_keys_org_id_own_role_idx ON admin_keys (org_id, own_role);

ALTER TABLE roles ENABLE ROW LEVEL SECURITY;
ALTER TABLE roles FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON roles TO agentguard_app
  USING (org_id = (SELECT NULLIF(current_setting('app.org_id', true), '')))
  WITH CHECK (org_id = (SELECT NULLIF(current_setting('app.org_id', true), '')));
CREATE POLICY configuration ON roles FOR SELECT TO agentguard_hot USING (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON roles TO agentguard_app;
GRANT SELECT ON roles TO agentguard_hot;
