-- Stopping in two round trips instead of five. On a busy machine each of them waits for its turn as long as any other, BEGIN
-- as long as COMMIT, and until the last one the agent goes on. So a switch is written as decisions are: what its entry is made
-- from is looked at first, without a lock, and compared by the one statement that writes everything.

-- What the entry of a new switch is made from: who is stopped, the versions, and the name of the log. No row when there is
-- nothing of that name, or a switch that is active: then somebody has to look closer, in a transaction. Not for the
-- installation. Row-level security holds: it runs as its caller.
CREATE FUNCTION see_kill_target(p_org_id text, p_scope text, p_target text)
RETURNS TABLE (subject_agent_id text, subject_environment text, subject_team text, agent bigint, origin text,
               organization bigint, installation bigint)
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
  IF coalesce(pg_catalog.current_setting('app.org_id', true), '') NOT IN ('', p_org_id) THEN
    RAISE EXCEPTION 'this transaction belongs to another organization' USING ERRCODE = '42501';
  END IF;
  PERFORM pg_catalog.set_config('app.org_id', p_org_id, true);
  RETURN QUERY
  SELECT a.agent_id, a.environment, a.owner_team, v.version, h.origin, h.org_version, c.version
  FROM ledger.ledger_head h
  CROSS JOIN public.installation_config c
  LEFT JOIN public.agents a ON a.org_id = p_org_id AND a.agent_id = CASE p_scope
    WHEN 'agent' THEN p_target
    WHEN 'key' THEN (SELECT k.agent_id FROM public.agent_keys k WHERE k.org_id = p_org_id AND k.key_id = p_target) END
  LEFT JOIN public.agent_config v ON v.org_id = p_org_id AND v.agent_id = a.agent_id
  WHERE h.org_id = p_org_id
    AND CASE p_scope
      WHEN 'agent' THEN v.version IS NOT NULL
      WHEN 'key' THEN v.version IS NOT NULL
      WHEN 'team' THEN EXISTS (SELECT FROM public.teams t WHERE t.org_id = p_org_id AND t.team = p_target)
      ELSE true END
    AND NOT EXISTS (
      SELECT FROM public.kill_switches s
      WHERE s.org_id = p_org_id AND s.scope = p_scope AND s.deactivated_at IS NULL
        AND COALESCE(s.environment, s.team, s.key_id, s.agent_id, s.action, '') = COALESCE(p_target, '')
    );
END
$$;

-- Writes a switch, raises the version of what it covers, and appends its entry, all in one statement: under the locks of
-- hold_kill_target, taken in the same order as by a transaction that does it in several. SQLSTATE AG004, with nothing written,
-- when it does not find what was seen: the target, no active switch, the versions (p_agent and p_organization are those that
-- it raises to). An agent's version says that its environment and team are those of the entry. Drills run one at a time.
CREATE FUNCTION stop_at_once(
  p_org_id       text,
  p_scope        text,
  p_target       text,
  p_kill_id      text,
  p_reason       text,
  p_by           text,
  p_at           timestamptz,
  p_entry_id     uuid,
  p_ts           bigint,
  p_installation bigint,
  p_organization bigint,
  p_agent        bigint,
  p_entry        bytea
) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
  v_is_there boolean;
  v_agent_id text;
  v_active   text;
  v_outcome  integer;
BEGIN
  SELECT h.is_there, h.subject_agent_id, (h.active).kill_id INTO v_is_there, v_agent_id, v_active
  FROM public.hold_kill_target(p_org_id, p_scope, p_target, p_kill_id, p_reason, p_by, p_at) h;
  IF v_is_there AND v_active IS NULL AND (v_agent_id IS NULL) = (p_agent IS NULL) AND NOT (
    pg_catalog.starts_with(p_kill_id, 'kil_drill_') AND EXISTS (
      SELECT FROM public.kill_switches s
      WHERE s.org_id = p_org_id AND s.deactivated_at IS NULL AND s.scope = 'agent' AND s.kill_id <> p_kill_id
        AND pg_catalog.starts_with(s.kill_id, 'kil_drill_') AND pg_catalog.length(s.kill_id) = pg_catalog.length(p_kill_id)
    )
  ) THEN
    UPDATE public.agent_config c SET version = c.version + 1, changed_xid = pg_catalog.pg_current_xact_id()
    WHERE c.org_id = p_org_id AND c.agent_id = v_agent_id;
    SELECT e.outcome INTO v_outcome FROM ledger.ledger_append(
      true, v_agent_id IS NULL, ARRAY[p_org_id], ARRAY[p_entry_id], ARRAY[p_ts], ARRAY['kill'], ARRAY[v_agent_id],
      ARRAY[NULL]::text[], ARRAY[NULL]::boolean[], ARRAY[NULL]::uuid[], ARRAY[p_installation], ARRAY[p_organization],
      ARRAY[p_agent], ARRAY[NULL]::bigint[], ARRAY[pg_catalog.octet_length(p_entry)], p_entry, ARRAY[0], '',
      ARRAY[NULL]::uuid[]) e;
  END IF;
  IF v_outcome IS DISTINCT FROM 0 THEN
    RAISE EXCEPTION 'what is to be stopped is not as it was seen' USING ERRCODE = 'AG004';
  END IF;
END
$$;
REVOKE ALL ON FUNCTION see_kill_target, stop_at_once FROM PUBLIC;
GRANT EXECUTE ON FUNCTION see_kill_target, stop_at_once TO agentguard_app;
