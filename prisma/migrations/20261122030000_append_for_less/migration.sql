-- What an entry costs PostgreSQL to append (bench/RESULTS.md, PostgreSQL's CPU a decision).

-- `ledger_append_alike` as before, with the same guarantees in the same order, but for two things: the database's clock is
-- read without calling a function of its own, which costs a statement; and the versions of a batch's agents are looked up
-- one by one, of which nearly every batch has few, instead of joined.
CREATE OR REPLACE FUNCTION ledger.ledger_append_alike(
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
  v_now := (extract(epoch FROM pg_catalog.clock_timestamp()) * 1000)::bigint; -- ledger.now_ms(), without the call
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
    SELECT FROM pg_catalog.generate_series(1, pg_catalog.cardinality(p_agents)) AS a
    WHERE p_agent_versions[a] IS DISTINCT FROM (
      SELECT c.version FROM public.agent_config c WHERE c.org_id = p_org_id AND c.agent_id = p_agents[a]
    )
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

-- The keys of these indexes are all different, as the index of an entry is the last part of each. So no page of them has
-- duplicates to be merged before it is divided, and PostgreSQL need not look for any.
CREATE FUNCTION ledger.expect_no_duplicates(p_leaf text) RETURNS void LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
  v_index text;
BEGIN
  FOR v_index IN
    SELECT i.indexrelid::regclass::text FROM pg_catalog.pg_index i
    JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[i.indnkeyatts - 1]
    WHERE i.indrelid = pg_catalog.to_regclass(pg_catalog.format('ledger.%I', p_leaf))
      AND a.attname = 'index' AND NOT i.indisunique
  LOOP
    EXECUTE format('ALTER INDEX %s SET (deduplicate_items = off)', v_index);
  END LOOP;
END
$$;
REVOKE ALL ON FUNCTION ledger.expect_no_duplicates(text) FROM PUBLIC;

-- As before; the indexes of a new month are told at once.
CREATE OR REPLACE FUNCTION ledger.ledger_ensure_partitions(p_from timestamptz, p_months_ahead integer) RETURNS timestamptz
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
  v_month timestamptz := pg_catalog.date_trunc('month', p_from, 'UTC');
  v_next  timestamptz;
  v_days  text;
  v_leaf  text;
BEGIN
  PERFORM pg_catalog.pg_advisory_xact_lock(72707371);
  FOR i IN 0..p_months_ahead LOOP
    v_next := pg_catalog.date_trunc('month', v_month + interval '32 days', 'UTC');
    FOREACH v_days IN ARRAY ARRAY['90', '365', '730', '2555'] LOOP
      v_leaf := 'ledger_entry_' || v_days || '_' || pg_catalog.to_char(v_month AT TIME ZONE 'UTC', 'YYYYMM');
      IF pg_catalog.to_regclass('ledger.' || v_leaf) IS NULL THEN
        EXECUTE format('CREATE TABLE ledger.%I (LIKE ledger.ledger_entry INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', v_leaf);
        PERFORM ledger.wall(v_leaf, 'refuse_change');
        EXECUTE format('ALTER TABLE ledger.%I ATTACH PARTITION ledger.%I FOR VALUES FROM (%L) TO (%L)',
          'ledger_entry_' || v_days, v_leaf, ledger.uuid_floor(v_month), ledger.uuid_floor(v_next));
        PERFORM ledger.expect_no_duplicates(v_leaf);
      END IF;
      v_leaf := 'ledger_payload_' || v_days || '_' || pg_catalog.to_char(v_month AT TIME ZONE 'UTC', 'YYYYMM');
      IF pg_catalog.to_regclass('ledger.' || v_leaf) IS NULL THEN
        EXECUTE format('CREATE TABLE ledger.%I (LIKE ledger.ledger_payload INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', v_leaf);
        PERFORM ledger.wall(v_leaf, 'refuse_payload_change');
        EXECUTE format('ALTER TABLE ledger.%I ATTACH PARTITION ledger.%I FOR VALUES FROM (%L) TO (%L)',
          'ledger_payload_' || v_days, v_leaf,
          (v_month AT TIME ZONE 'UTC')::date, (v_next AT TIME ZONE 'UTC')::date);
      END IF;
    END LOOP;
    v_month := v_next;
  END LOOP;
  RETURN v_month;
END
$$;

SELECT ledger.expect_no_duplicates(c.relname::text) FROM pg_class c
WHERE c.relnamespace = 'ledger'::regnamespace AND c.relkind = 'r' AND c.relname LIKE 'ledger\_entry\_%';
