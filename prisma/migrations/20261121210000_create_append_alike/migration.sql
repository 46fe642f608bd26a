-- A cheaper way to append nearly every batch of the decision path: entries of one organization, made from one version of
-- the installation's and the organization's configuration. What they share is passed once, bytes are cut at positions
-- that the caller has added up, and the answer is one number. `ledger_append` stays for every other batch, and for those
-- that this one does not take.

GRANT CREATE ON SCHEMA ledger TO agentguard_ledger;

-- Appends all of the batch, or nothing. Returns the first index; null when the head is held, when a version, a time or an
-- expiry is not as it must be, or there is no such log: then nothing was written, and `ledger_append` says of each entry
-- what is wrong with it. It takes the same locks in the same order.
--
-- p_agents, p_agent_versions: the agents of the batch, each once · p_agent: each entry's place among them; null: the first
-- p_reported: entries of type action; null: all are decisions · p_not_after, p_decision_id: null when no entry has one
-- p_upto: where each entry ends in p_entries · p_payload_upto: the same for payloads, null when no entry has one
-- Payload bytes are nonce (12) ‖ ciphertext ‖ tag.
CREATE FUNCTION ledger.ledger_append_alike(
  p_org_id         text,
  p_installation   bigint,
  p_organization   bigint,
  p_agents         text[],
  p_agent_versions bigint[],
  p_agent          integer[],
  p_id             uuid[],
  p_ts             bigint[],
  p_reported       boolean[],
  p_action_key     text[],
  p_allowed        boolean[],
  p_decision_id    uuid[],
  p_not_after      bigint[],
  p_upto           integer[],
  p_entries        bytea,
  p_payload_upto   integer[],
  p_payloads       bytea,
  p_dek_id         uuid[]
) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  v_locked         text := pg_catalog.pg_advisory_xact_lock_shared(72707370)::text;
  v_count          integer := pg_catalog.cardinality(p_id);
  v_size           bigint;
  v_retention_days smallint;
  v_now            bigint;
BEGIN
  -- The installation's version cannot move while the advisory lock is held, and a head that somebody raised is looked
  -- at again once it is locked. An agent's version is read by the next statement, which sees what was committed before
  -- the head was free.
  SELECT l.size, l.retention_days INTO v_size, v_retention_days
  FROM ledger.ledger_head l
  WHERE l.org_id = p_org_id AND l.org_version = p_organization
    AND p_installation = (SELECT c.version FROM public.installation_config c)
  FOR NO KEY UPDATE OF l SKIP LOCKED;
  v_now := ledger.now_ms();
  IF v_size IS NULL
     OR NOT (v_now - 5000 <= ALL (p_ts) AND v_now + 5000 >= ALL (p_ts) AND (v_now < ALL (p_not_after)) IS NOT FALSE) THEN
    RETURN NULL;
  END IF;
  INSERT INTO ledger.ledger_entry
    (org_id, index, id, retention_days, ts, type, agent_id, action_key, allowed, decision_id, entry)
  SELECT p_org_id, v_size + i - 1, p_id[i], v_retention_days, pg_catalog.to_timestamp(p_ts[i]::float8 / 1000),
         CASE WHEN p_reported[i] THEN 'action' ELSE 'decision' END, p_agents[coalesce(p_agent[i], 1)], p_action_key[i],
         p_allowed[i], p_decision_id[i],
         pg_catalog.substr(p_entries, coalesce(p_upto[i - 1], 0) + 1, p_upto[i] - coalesce(p_upto[i - 1], 0))
  FROM pg_catalog.generate_series(1, v_count) AS i
  WHERE NOT EXISTS (
    SELECT FROM unnest(p_agents, p_agent_versions) AS a (agent_id, version)
    LEFT JOIN public.agent_config c ON c.org_id = p_org_id AND c.agent_id = a.agent_id
    WHERE a.version IS DISTINCT FROM c.version
  );
  IF NOT FOUND THEN
    RETURN NULL;
  END IF;
  IF p_payload_upto IS NOT NULL THEN
    INSERT INTO ledger.ledger_payload (org_id, index, retention_days, month, dek_id, nonce, body)
    SELECT p_org_id, v_size + t.i - 1, v_retention_days,
           pg_catalog.date_trunc('month', pg_catalog.to_timestamp(p_ts[t.i]::float8 / 1000), 'UTC') AT TIME ZONE 'UTC',
           p_dek_id[t.i], pg_catalog.substr(p_payloads, t.at + 1, 12), pg_catalog.substr(p_payloads, t.at + 13, p_payload_upto[t.i] - t.at - 12)
    FROM (SELECT i, coalesce(p_payload_upto[i - 1], 0) AS at FROM pg_catalog.generate_series(1, v_count) AS i) t
    WHERE p_payload_upto[t.i] > t.at;
  END IF;
  UPDATE ledger.ledger_head l SET size = v_size + v_count WHERE l.org_id = p_org_id;
  RETURN v_size;
END
$$;
ALTER FUNCTION ledger.ledger_append_alike OWNER TO agentguard_ledger;
REVOKE ALL ON FUNCTION ledger.ledger_append_alike FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ledger.ledger_append_alike TO agentguard_hot;
REVOKE CREATE ON SCHEMA ledger FROM agentguard_ledger;
