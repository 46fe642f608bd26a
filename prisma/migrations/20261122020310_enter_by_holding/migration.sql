-- Stopping takes one round trip less: holding what is to be stopped also binds the transaction to its organization, which
-- was a statement of its own. On a busy machine each round trip of the six took as long as any other, and until the last one
-- the agent goes on. Until this function is called such a transaction has no organization, so row-level security shows it
-- nothing and lets it write nothing.
CREATE OR REPLACE FUNCTION hold_kill_target(
  p_org_id  text,
  p_scope   text,
  p_target  text,
  p_kill_id text,
  p_reason  text,
  p_by      text,
  p_at      timestamptz
)
RETURNS TABLE (is_there boolean, subject_agent_id text, subject_environment text, subject_team text, active public.kill_switches)
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
  v_agent_id text := p_target;
BEGIN
  IF coalesce(pg_catalog.current_setting('app.org_id', true), '') NOT IN ('', p_org_id) THEN
    RAISE EXCEPTION 'this transaction belongs to another organization' USING ERRCODE = '42501';
  END IF;
  -- The isolation level can only be confirmed here: with another one PostgreSQL refuses it.
  PERFORM pg_catalog.set_config('app.org_id', p_org_id, true),
          pg_catalog.set_config('transaction_isolation', 'read committed', true);
  IF p_scope = 'key' THEN
    SELECT k.agent_id INTO v_agent_id FROM public.agent_keys k WHERE k.org_id = p_org_id AND k.key_id = p_target;
  END IF;
  IF p_scope IN ('agent', 'key') THEN
    SELECT a.agent_id, a.environment, a.owner_team INTO subject_agent_id, subject_environment, subject_team
    FROM public.agents a WHERE a.org_id = p_org_id AND a.agent_id = v_agent_id FOR NO KEY UPDATE;
    is_there := subject_agent_id IS NOT NULL;
  ELSIF p_scope = 'team' THEN
    is_there := EXISTS (SELECT FROM public.teams t WHERE t.org_id = p_org_id AND t.team = p_target);
  ELSE
    is_there := true;
  END IF;
  PERFORM pg_catalog.pg_advisory_xact_lock(72707372, pg_catalog.hashtext(p_org_id));
  SELECT s.* INTO active FROM public.kill_switches s
  WHERE s.org_id = p_org_id AND s.scope = p_scope AND s.deactivated_at IS NULL
    AND COALESCE(s.environment, s.team, s.key_id, s.agent_id, s.action, '') = COALESCE(p_target, '');
  IF p_kill_id IS NOT NULL AND is_there AND active.kill_id IS NULL THEN
    INSERT INTO public.kill_switches
      (org_id, kill_id, scope, environment, team, agent_id, key_id, action, reason, activated_by, activated_at)
    VALUES
      (p_org_id, p_kill_id, p_scope, CASE WHEN p_scope = 'environment' THEN p_target END,
       CASE WHEN p_scope = 'team' THEN p_target END, subject_agent_id, CASE WHEN p_scope = 'key' THEN p_target END,
       CASE WHEN p_scope = 'action' THEN p_target END, p_reason, p_by, p_at);
  END IF;
  RETURN NEXT;
END
$$;
