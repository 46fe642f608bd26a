-- The four roles of this database and what each may touch.
-- Idempotent; run by the migration runner before the migrations, because roles belong to the cluster and
-- outlive a database. Needs a user that may create roles: a superuser or one with CREATEROLE.
--
--   agentguard_owner   NOLOGIN  owns the tables; runs migrations and nothing else
--   agentguard_ledger  NOLOGIN  owns the ledger's functions; the only role that writes ledger tables
--   agentguard_app              the control plane; row-level security by app.org_id
--   agentguard_hot              the decision path: reads configuration of every organization, appends
DO $$
DECLARE
  name text;
  -- From 16 on, whoever makes a role is its member, but may not SET ROLE to it without a further grant.
  v_acts_as text := CASE WHEN current_setting('server_version_num')::integer >= 160000 THEN 'SET' ELSE 'MEMBER' END;
BEGIN
  FOREACH name IN ARRAY ARRAY['agentguard_owner', 'agentguard_ledger', 'agentguard_app', 'agentguard_hot'] LOOP
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN
      BEGIN
        EXECUTE format('CREATE ROLE %I NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS', name);
      EXCEPTION WHEN duplicate_object OR unique_violation THEN
        NULL; -- another database of this cluster is being migrated at the same moment
      END;
    END IF;
    -- The migrating user acts as these roles (SET ROLE); a superuser can anyway.
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
       AND NOT pg_has_role(current_user, name, v_acts_as) THEN
      EXECUTE format('GRANT %I TO %I', name, current_user);
    END IF;
  END LOOP;
  IF NOT pg_has_role('agentguard_owner', 'agentguard_ledger', 'MEMBER') THEN
    GRANT agentguard_ledger TO agentguard_owner; -- so that a migration can hand its functions over
  END IF;
  EXECUTE format('GRANT CREATE, CONNECT ON DATABASE %I TO agentguard_owner', current_database());
  EXECUTE format('GRANT CONNECT ON DATABASE %I TO agentguard_app, agentguard_hot', current_database());
  GRANT USAGE, CREATE ON SCHEMA public TO agentguard_owner;
  GRANT USAGE ON SCHEMA public TO agentguard_app, agentguard_hot, agentguard_ledger;
END
$$;
