-- Kill switches. Those of one organization are its own rows; the one that stops the whole installation belongs to
-- none, and is written only by the function that also writes it into the log of every organization.

CREATE TABLE kill_switches (
  org_id             TEXT           NOT NULL,
  kill_id            TEXT           NOT NULL,
  scope              TEXT           NOT NULL,
  environment        TEXT,
  team               TEXT,
  agent_id           TEXT,
  key_id             TEXT,
  action             TEXT,
  reason             TEXT           NOT NULL,
  activated_by       TEXT           NOT NULL,
  activated_at       TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  -- The first of two people who want it to end, where two are needed.
  release_by         TEXT,
  release_reason     TEXT,
  release_at         TIMESTAMPTZ(3),
  deactivated_by     TEXT,
  deactivated_reason TEXT,
  deactivated_at     TIMESTAMPTZ(3),
  CONSTRAINT kill_switches_pkey PRIMARY KEY (org_id, kill_id),
  CONSTRAINT kill_switches_org_id_fkey FOREIGN KEY (org_id) REFERENCES organizations (org_id) ON DELETE RESTRICT ON UPDATE RESTRICT,
  CONSTRAINT kill_switches_org_id_team_fkey FOREIGN KEY (org_id, team) REFERENCES teams (org_id, team) ON DELETE RESTRICT ON UPDATE RESTRICT,
  CONSTRAINT kill_switches_org_id_agent_id_fkey FOREIGN KEY (org_id, agent_id) REFERENCES agents (org_id, agent_id) ON DELETE RESTRICT ON UPDATE RESTRICT,
  CONSTRAINT kill_switches_org_id_key_id_fkey FOREIGN KEY (org_id, key_id) REFERENCES agent_keys (org_id, key_id) ON DELETE RESTRICT ON UPDATE RESTRICT,
  CONSTRAINT kill_switches_scope_fits CHECK (
    CASE scope
      WHEN 'organization' THEN num_nonnulls(environment, team, agent_id, key_id, action) = 0
      WHEN 'environment' THEN environment IN ('dev', 'stage', 'prod') AND num_nonnulls(team, agent_id, key_id, action) = 0
      WHEN 'team' THEN team IS NOT NULL AND num_nonnulls(environment, agent_id, key_id, action) = 0
      WHEN 'agent' THEN agent_id IS NOT NULL AND num_nonnulls(environment, team, key_id, action) = 0
      WHEN 'key' THEN key_id IS NOT NULL AND agent_id IS NOT NULL AND num_nonnulls(environment, team, action) = 0
      WHEN 'action' THEN action IS NOT NULL AND num_nonnulls(environment, team, agent_id, key_id) = 0
      ELSE false
    END
  )
);
-- Of two who activate the same at once, one does; and what decisions look for is found without the history.
CREATE UNIQUE INDEX kill_switches_active_key ON kill_switches
  (org_id, scope, COALESCE(environment, team, key_id, agent_id, action, '')) WHERE deactivated_at IS NULL;
CREATE INDEX kill_switches_org_id_activated_at_kill_id_idx ON kill_switches (org_id, activated_at DESC, kill_id);

CREATE TABLE kill_switch_settings (
  org_id     TEXT    NOT NULL,
  two_people BOOLEAN NOT NULL DEFAULT false,
  CONSTRAINT kill_switch_settings_pkey PRIMARY KEY (org_id),
  CONSTRAINT kill_switch_settings_org_id_fkey FOREIGN KEY (org_id) REFERENCES organizations (org_id) ON DELETE RESTRICT ON UPDATE RESTRICT
);

CREATE TABLE installation_kills (
  kill_id            TEXT           NOT NULL,
  reason             TEXT           NOT NULL,
  activated_by       TEXT           NOT NULL,
  activated_at       TIMESTAMPTZ(3) NOT NULL,
  deactivated_by     TEXT,
  deactivated_reason TEXT,
  deactivated_at     TIMESTAMPTZ(3),
  CONSTRAINT installation_kills_pkey PRIMARY KEY (kill_id)
);
CREATE UNIQUE INDEX installation_kills_active_key ON installation_kills ((true)) WHERE deactivated_at IS NULL;

DO $$
DECLARE
  name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['kill_switches', 'kill_switch_settings'] LOOP
    EXECUTE format('ALTER TABLE public.%I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE public.%I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY tenant ON public.%I TO agentguard_app
      USING (org_id = (SELECT NULLIF(current_setting(''app.org_id'', true), '''')))
      WITH CHECK (org_id = (SELECT NULLIF(current_setting(''app.org_id'', true), '''')))', name);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE ON public.%I TO agentguard_app', name);
  END LOOP;
END
$$;
CREATE POLICY configuration ON kill_switches FOR SELECT TO agentguard_hot USING (true);
GRANT SELECT ON kill_switches TO agentguard_hot;
GRANT SELECT ON installation_kills TO agentguard_app, agentguard_hot, agentguard_ledger;
GRANT INSERT, UPDATE ON installation_kills TO agentguard_ledger;
GRANT UPDATE (version) ON installation_config TO agentguard_ledger;

-- Appends one entry to the log of every organization and raises the installation's version, in one transaction: the
-- only way in which an installation-wide kill switch comes and goes. One element a log in every array.
--
-- The advisory lock is taken exclusively, while every append takes it shared: no head is held by anybody, no version
-- moves, and what is appended later, anywhere, compares with the raised version. So in every log the entry stands
-- after the last decision from before and before the first one from after.
--
-- False, with nothing written, when the caller has seen other logs or versions than there are now: look again.
CREATE FUNCTION ledger.ledger_append_everywhere(
  p_org_id       text[],
  p_id           uuid[],
  p_ts           bigint,
  p_installation bigint,
  p_organization bigint[],
  p_entry_bytes  integer[],
  p_entries      bytea
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
  v_entries bytea[];
  v_first   jsonb;
  v_kill    jsonb;
BEGIN
  PERFORM pg_catalog.pg_advisory_xact_lock(72707370);
  PERFORM FROM ledger.ledger_head l ORDER BY l.org_id FOR NO KEY UPDATE;
  IF p_installation <> (SELECT c.version + 1 FROM public.installation_config c)
     OR pg_catalog.abs(p_ts - ledger.now_ms()) > 5000
     OR EXISTS (
       SELECT FROM ledger.ledger_head l
       FULL JOIN unnest(p_org_id, p_organization) AS t (org_id, organization) USING (org_id)
       WHERE l.org_version IS DISTINCT FROM t.organization
     ) THEN
    RETURN false;
  END IF;

  SELECT pg_catalog.array_agg(pg_catalog.substr(p_entries, t.at::integer + 1, t.bytes) ORDER BY t.ord) INTO v_entries
  FROM (
    SELECT u.ord, u.bytes, sum(u.bytes) OVER (ORDER BY u.ord) - u.bytes AS at
    FROM unnest(p_entry_bytes) WITH ORDINALITY AS u (bytes, ord)
  ) t;
  IF EXISTS (
    SELECT FROM unnest(p_org_id, v_entries) AS e (org_id, entry) JOIN ledger.ledger_head l USING (org_id),
      LATERAL (SELECT pg_catalog.convert_from(e.entry, 'UTF8')::jsonb AS j) AS t
    WHERE t.j ->> 'type' IS DISTINCT FROM 'kill' OR t.j #>> '{kill,scope}' IS DISTINCT FROM 'installation'
       OR t.j ->> 'log' IS DISTINCT FROM l.origin
  ) THEN
    RAISE EXCEPTION 'only installation-wide kill switches are written into every log' USING ERRCODE = 'AG002';
  END IF;
  INSERT INTO ledger.ledger_entry
    (org_id, index, id, retention_days, ts, type, agent_id, action_key, allowed, decision_id, entry)
  SELECT l.org_id, l.size, e.id, l.retention_days, pg_catalog.to_timestamp(p_ts::float8 / 1000), 'kill',
         NULL, NULL, NULL, NULL, e.entry
  FROM unnest(p_org_id, p_id, v_entries) AS e (org_id, id, entry) JOIN ledger.ledger_head l USING (org_id);
  UPDATE ledger.ledger_head l SET size = l.size + 1 WHERE true;
  UPDATE public.installation_config c SET version = c.version + 1 WHERE true;

  v_first := pg_catalog.convert_from(v_entries[1], 'UTF8')::jsonb;
  v_kill := v_first -> 'kill';
  IF v_kill ->> 'op' = 'activated' THEN
    INSERT INTO public.installation_kills (kill_id, reason, activated_by, activated_at)
      VALUES (v_kill ->> 'id', v_kill ->> 'reason', v_first #>> '{actor,id}', (v_first ->> 'ts')::timestamptz);
  ELSE
    UPDATE public.installation_kills k
      SET deactivated_by = v_first #>> '{actor,id}', deactivated_reason = v_kill ->> 'reason',
          deactivated_at = (v_first ->> 'ts')::timestamptz
      WHERE k.kill_id = v_kill ->> 'id' AND k.deactivated_at IS NULL;
    IF NOT FOUND THEN
      RAISE EXCEPTION 'the kill switch is not active' USING ERRCODE = 'AG002';
    END IF;
  END IF;
  RETURN true;
END
$$;

GRANT CREATE ON SCHEMA ledger TO agentguard_ledger;
ALTER FUNCTION ledger.ledger_append_everywhere OWNER TO agentguard_ledger;
REVOKE ALL ON FUNCTION ledger.ledger_append_everywhere FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ledger.ledger_append_everywhere TO agentguard_app;
REVOKE CREATE ON SCHEMA ledger FROM agentguard_ledger;
