-- Retention (ledger.md, Storage): how long the entries of an organization are kept. What expires goes a month at a
-- time, as whole partitions; its leaf hashes stay, so the tree, every checkpoint and every later entry's proof do too.

GRANT CREATE ON SCHEMA ledger TO agentguard_ledger;

-- Which class entries are stored in, from which index on. No row: the class in ledger_head since the beginning.
CREATE TABLE ledger.ledger_retention (
  org_id         TEXT           NOT NULL REFERENCES ledger.ledger_head (org_id) ON DELETE RESTRICT,
  from_index     BIGINT         NOT NULL,
  retention_days SMALLINT       NOT NULL CHECK (retention_days IN (90, 365, 730, 2555)),
  created_at     TIMESTAMPTZ(3) NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (org_id, from_index)
);

-- Entries that have expired: the leaf hashes of up to 256 in a row. They are written while the entries are still there.
CREATE TABLE ledger.ledger_expired (
  org_id     TEXT           NOT NULL REFERENCES ledger.ledger_head (org_id) ON DELETE RESTRICT,
  from_index BIGINT         NOT NULL,
  leaves     BYTEA          NOT NULL CHECK (octet_length(leaves) BETWEEN 32 AND 8192 AND octet_length(leaves) % 32 = 0),
  expired_at TIMESTAMPTZ(3) NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (org_id, from_index)
);
ALTER TABLE ledger.ledger_expired ALTER COLUMN leaves SET STORAGE EXTERNAL;

DO $$
DECLARE
  name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['ledger_retention', 'ledger_expired'] LOOP
    EXECUTE format('ALTER TABLE ledger.%I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE ledger.%I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY ledger ON ledger.%I TO agentguard_ledger USING (true) WITH CHECK (true)', name);
    EXECUTE format('CREATE POLICY tenant ON ledger.%I FOR SELECT TO agentguard_app
      USING (org_id = (SELECT NULLIF(current_setting(''app.org_id'', true), '''')))', name);
    EXECUTE format('GRANT SELECT ON ledger.%I TO agentguard_app', name);
    EXECUTE format('GRANT SELECT, INSERT ON ledger.%I TO agentguard_ledger', name);
    EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger.%I
      FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change()', name);
    EXECUTE format('ALTER TABLE ledger.%I ENABLE ALWAYS TRIGGER append_only', name);
  END LOOP;
END
$$;

-- Stores the coming entries in another class, from the next index on: the caller's transaction appends the entry that
-- says so, which is the first of the new class. False when the class is the present one.
CREATE FUNCTION ledger.ledger_retention_set(p_org_id text, p_days smallint) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
  v_head ledger.ledger_head;
BEGIN
  PERFORM ledger.assert_organization(p_org_id);
  PERFORM pg_catalog.pg_advisory_xact_lock_shared(72707370); -- before the head, in ledger_append's order of locks
  SELECT h.* INTO v_head FROM ledger.ledger_head h WHERE h.org_id = p_org_id FOR NO KEY UPDATE;
  IF v_head.retention_days = p_days THEN
    RETURN false;
  END IF;
  INSERT INTO ledger.ledger_retention (org_id, from_index, retention_days)
    VALUES (p_org_id, 0, v_head.retention_days) ON CONFLICT ON CONSTRAINT ledger_retention_pkey DO NOTHING;
  INSERT INTO ledger.ledger_retention (org_id, from_index, retention_days) VALUES (p_org_id, v_head.size, p_days);
  UPDATE ledger.ledger_head h SET retention_days = p_days WHERE h.org_id = p_org_id;
  RETURN true;
END
$$;

-- Months whose time is up, oldest first: the first day of each, and its class.
CREATE FUNCTION ledger.ledger_expirable() RETURNS TABLE (retention_days smallint, month date)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' AS $$
  SELECT d.days, m.month
  FROM pg_catalog.pg_class c
  CROSS JOIN LATERAL (SELECT pg_catalog.regexp_match(c.relname, '^ledger_entry_(90|365|730|2555)_(\d{6})$') AS part) p
  CROSS JOIN LATERAL (SELECT (p.part)[1]::smallint AS days) d
  CROSS JOIN LATERAL (SELECT pg_catalog.to_date((p.part)[2] || '01', 'YYYYMMDD') AS month) m
  WHERE c.relnamespace = 'ledger'::regnamespace AND c.relkind = 'r' AND p.part IS NOT NULL
    AND (m.month + interval '1 month') AT TIME ZONE 'UTC' + pg_catalog.make_interval(days => d.days)
        <= pg_catalog.to_timestamp(ledger.now_ms() / 1000.0)
  ORDER BY m.month, d.days
$$;

-- The ids that a month's partition can hold: from ≤ id < upto.
CREATE FUNCTION ledger.month_floor(p_month date) RETURNS uuid LANGUAGE sql IMMUTABLE SET search_path = '' AS $$
  SELECT ledger.uuid_floor(p_month::timestamp AT TIME ZONE 'UTC')
$$;

-- Whose entries lie in a month of a class and are not marked as expired yet.
CREATE FUNCTION ledger.ledger_unexpired(p_days smallint, p_month date)
RETURNS TABLE (org_id text, first_index bigint, last_index bigint, entries bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' AS $$
  SELECT e.org_id, min(e.index), max(e.index), count(*)
  FROM ledger.ledger_entry e
  WHERE e.retention_days = p_days
    AND e.id >= ledger.month_floor(p_month) AND e.id < ledger.month_floor((p_month + interval '1 month')::date)
    AND NOT EXISTS (SELECT FROM ledger.ledger_expired x WHERE x.org_id = e.org_id AND x.from_index <= e.index
                      AND e.index < x.from_index + pg_catalog.octet_length(x.leaves) / 32)
  GROUP BY e.org_id ORDER BY e.org_id
$$;

-- Marks the entries from ≤ index ≤ upto of one month and class as expired: keeps their leaf hashes. It commits only
-- with the redaction entry that records it. Answers how many entries there were.
CREATE FUNCTION ledger.ledger_expire(
  p_org_id text, p_expiry_id uuid, p_days smallint, p_month date, p_from bigint, p_upto bigint
) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
  v_entries bigint;
BEGIN
  PERFORM ledger.assert_organization(p_org_id);
  IF NOT EXISTS (SELECT FROM ledger.ledger_expirable() m WHERE m.retention_days = p_days AND m.month = p_month) THEN
    RAISE EXCEPTION 'the month % of class % has not expired', p_month, p_days USING ERRCODE = 'AG001';
  END IF;
  -- Nothing goes before it is under a checkpoint of the present epoch.
  IF NOT EXISTS (SELECT FROM ledger.ledger_tree t JOIN ledger.ledger_head h USING (org_id, epoch)
                 WHERE h.org_id = p_org_id AND t.signed > p_upto) THEN
    RAISE EXCEPTION 'entry % of % is not signed', p_upto, p_org_id USING ERRCODE = 'AG001';
  END IF;
  WITH gone AS (
    SELECT e.index, pg_catalog.sha256('\x00'::bytea || e.entry) AS leaf,
           e.index - pg_catalog.row_number() OVER (ORDER BY e.index) AS island
    FROM ledger.ledger_entry e
    WHERE e.org_id = p_org_id AND e.retention_days = p_days AND e.index BETWEEN p_from AND p_upto
      AND e.id >= ledger.month_floor(p_month) AND e.id < ledger.month_floor((p_month + interval '1 month')::date)
      AND NOT EXISTS (SELECT FROM ledger.ledger_expired x WHERE x.org_id = e.org_id AND x.from_index <= e.index
                        AND e.index < x.from_index + pg_catalog.octet_length(x.leaves) / 32)
  ), kept AS (
    INSERT INTO ledger.ledger_expired (org_id, from_index, leaves)
    SELECT p_org_id, min(g.index), pg_catalog.string_agg(g.leaf, ''::bytea ORDER BY g.index)
    FROM gone g GROUP BY g.island, g.index / 256
    RETURNING pg_catalog.octet_length(leaves) / 32 AS count
  )
  SELECT coalesce(sum(k.count), 0) INTO v_entries FROM kept k;
  INSERT INTO ledger.ledger_erasure (org_id, erasure_id, from_index, upto_index, erased, log_size)
    SELECT p_org_id, p_expiry_id, p_from, p_upto, v_entries, h.size FROM ledger.ledger_head h WHERE h.org_id = p_org_id;
  RETURN v_entries;
END
$$;

DO $$
DECLARE
  signature text;
BEGIN
  FOR signature IN
    SELECT p.oid::regprocedure::text FROM pg_proc p
    WHERE p.pronamespace = 'ledger'::regnamespace
      AND p.proname IN ('ledger_retention_set', 'ledger_unexpired', 'ledger_expire')
  LOOP
    EXECUTE format('ALTER FUNCTION %s OWNER TO agentguard_ledger', signature);
    EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', signature);
  END LOOP;
END
$$;

-- Drops the partitions of a month whose entries are all marked as expired; false while some are not. Belongs to the
-- owner of the tables. Waits a second at most for those who read or write, then fails: try again later.
CREATE FUNCTION ledger.ledger_expire_drop(p_days smallint, p_month date) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' SET lock_timeout = '1s' AS $$
DECLARE
  v_part text := p_days || '_' || pg_catalog.to_char(p_month, 'YYYYMM');
BEGIN
  IF NOT EXISTS (SELECT FROM ledger.ledger_expirable() m WHERE m.retention_days = p_days AND m.month = p_month)
     OR EXISTS (SELECT FROM ledger.ledger_unexpired(p_days, p_month)) THEN
    RETURN false;
  END IF;
  EXECUTE format('ALTER TABLE ledger.%I DETACH PARTITION ledger.%I', 'ledger_payload_' || p_days, 'ledger_payload_' || v_part);
  EXECUTE format('DROP TABLE ledger.%I', 'ledger_payload_' || v_part);
  EXECUTE format('ALTER TABLE ledger.%I DETACH PARTITION ledger.%I', 'ledger_entry_' || p_days, 'ledger_entry_' || v_part);
  EXECUTE format('DROP TABLE ledger.%I', 'ledger_entry_' || v_part);
  RETURN true;
END
$$;
REVOKE ALL ON FUNCTION ledger.ledger_expirable(), ledger.ledger_expire_drop(smallint, date) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ledger.ledger_expirable() TO agentguard_ledger, agentguard_hot, agentguard_app;
GRANT EXECUTE ON FUNCTION ledger.ledger_unexpired(smallint, date) TO agentguard_owner, agentguard_hot;
GRANT EXECUTE ON FUNCTION ledger.ledger_expire_drop(smallint, date) TO agentguard_hot;
GRANT EXECUTE ON FUNCTION ledger.ledger_retention_set, ledger.ledger_expire TO agentguard_app;
REVOKE CREATE ON SCHEMA ledger FROM agentguard_ledger;
