-- The append-only log (ledger.md). Tables are written only by the functions below, which belong to
-- agentguard_ledger; nobody has UPDATE, DELETE or TRUNCATE, and triggers that fire always refuse them even to
-- those who hold every privilege.

CREATE SCHEMA ledger;
GRANT USAGE ON SCHEMA ledger TO agentguard_app, agentguard_hot, agentguard_ledger;
GRANT CREATE ON SCHEMA ledger TO agentguard_ledger;

-- One row an organization: the lock that orders its log, the next index, and the organization's version.
CREATE TABLE ledger.ledger_head (
  org_id         TEXT           NOT NULL PRIMARY KEY REFERENCES public.organizations (org_id) ON DELETE RESTRICT,
  epoch          INTEGER        NOT NULL DEFAULT 1,
  origin         TEXT           NOT NULL,
  size           BIGINT         NOT NULL DEFAULT 0,
  org_version    BIGINT         NOT NULL DEFAULT 1,
  retention_days SMALLINT       NOT NULL DEFAULT 365 CHECK (retention_days IN (90, 365, 730, 2555)),
  created_at     TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP
) WITH (fillfactor = 50); -- updated by every batch: room for HOT updates on the same page

-- One row an entry. `entry` is the truth; the other columns are projections of it, for filters.
-- The partition follows the month in the UUIDv7, so that an append which is repeated under the same id meets
-- its first copy in the same partition and fails on the primary key.
CREATE TABLE ledger.ledger_entry (
  org_id         TEXT           NOT NULL,
  index          BIGINT         NOT NULL,
  id             UUID           NOT NULL,
  retention_days SMALLINT       NOT NULL,
  ts             TIMESTAMPTZ(3) NOT NULL,
  type           TEXT           NOT NULL,
  agent_id       TEXT,
  action_key     TEXT,
  allowed        BOOLEAN,
  decision_id    UUID,
  entry          BYTEA          NOT NULL,
  PRIMARY KEY (org_id, id, retention_days)
) PARTITION BY LIST (retention_days);
CREATE INDEX ledger_entry_org_id_index_idx ON ledger.ledger_entry (org_id, index);
CREATE INDEX ledger_entry_org_id_agent_id_index_idx ON ledger.ledger_entry (org_id, agent_id, index);

-- The erasable part: encrypted, committed to by the entry's payload.c. `body` is ciphertext and tag.
CREATE TABLE ledger.ledger_payload (
  org_id         TEXT     NOT NULL,
  index          BIGINT   NOT NULL,
  retention_days SMALLINT NOT NULL,
  month          DATE     NOT NULL,
  dek_id         UUID     NOT NULL,
  nonce          BYTEA    NOT NULL,
  body           BYTEA    NOT NULL,
  PRIMARY KEY (org_id, index, retention_days, month)
) PARTITION BY LIST (retention_days);

-- Data keys, wrapped by LEDGER_KEK: one an organization and month.
CREATE TABLE ledger.ledger_data_key (
  org_id     TEXT           NOT NULL,
  month      DATE           NOT NULL,
  dek_id     UUID           NOT NULL,
  kek_id     TEXT           NOT NULL,
  wrapped    BYTEA          NOT NULL,
  created_at TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  PRIMARY KEY (org_id, month)
);

DO $$
DECLARE
  days smallint;
BEGIN
  FOREACH days IN ARRAY ARRAY[90, 365, 730, 2555]::smallint[] LOOP
    EXECUTE format('CREATE TABLE ledger.ledger_entry_%s PARTITION OF ledger.ledger_entry FOR VALUES IN (%s) PARTITION BY RANGE (id)', days, days);
    EXECUTE format('CREATE TABLE ledger.ledger_payload_%s PARTITION OF ledger.ledger_payload FOR VALUES IN (%s) PARTITION BY RANGE (month)', days, days);
  END LOOP;
END
$$;

-- Refusal. Statement triggers fire even when no row matches, and on whichever table is named: the parent, a
-- class, or a month. SQLSTATE AG001 is ours alone, so a caller can tell it from any other failure.
CREATE FUNCTION ledger.refuse_change() RETURNS trigger LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
  RAISE EXCEPTION 'the ledger is append-only: % on %.% refused', TG_OP, TG_TABLE_SCHEMA, TG_TABLE_NAME
    USING ERRCODE = 'AG001';
END
$$;

-- Payloads may be erased, but only by the definer function that records the erasure.
CREATE FUNCTION ledger.refuse_payload_change() RETURNS trigger LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
  IF TG_OP = 'DELETE' AND current_user = 'agentguard_ledger' THEN
    RETURN NULL;
  END IF;
  RAISE EXCEPTION 'payloads are erased only by ledger_erase: % on %.% refused', TG_OP, TG_TABLE_SCHEMA, TG_TABLE_NAME
    USING ERRCODE = 'AG001';
END
$$;

-- Puts the wall on one table of the ledger: triggers that fire even for session_replication_role = replica,
-- and row-level security. A leaf gets no policy at all: nobody reads or writes it but through its parent.
CREATE FUNCTION ledger.wall(p_table text, p_refuse text) RETURNS void LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
  EXECUTE format('ALTER TABLE ledger.%I ENABLE ROW LEVEL SECURITY', p_table);
  EXECUTE format('ALTER TABLE ledger.%I FORCE ROW LEVEL SECURITY', p_table);
  EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger.%I
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.%I()', p_table, p_refuse);
  EXECUTE format('ALTER TABLE ledger.%I ENABLE ALWAYS TRIGGER append_only', p_table);
END
$$;
REVOKE ALL ON FUNCTION ledger.wall(text, text) FROM PUBLIC;

DO $$
DECLARE
  name text;
BEGIN
  PERFORM ledger.wall('ledger_entry', 'refuse_change');
  PERFORM ledger.wall('ledger_payload', 'refuse_payload_change');
  FOREACH name IN ARRAY ARRAY['90', '365', '730', '2555'] LOOP
    PERFORM ledger.wall('ledger_entry_' || name, 'refuse_change');
    PERFORM ledger.wall('ledger_payload_' || name, 'refuse_payload_change');
  END LOOP;
  FOREACH name IN ARRAY ARRAY['ledger_head', 'ledger_data_key'] LOOP
    EXECUTE format('ALTER TABLE ledger.%I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE ledger.%I FORCE ROW LEVEL SECURITY', name);
  END LOOP;
  FOREACH name IN ARRAY ARRAY['ledger_head', 'ledger_entry', 'ledger_payload', 'ledger_data_key'] LOOP
    EXECUTE format('CREATE POLICY ledger ON ledger.%I TO agentguard_ledger USING (true) WITH CHECK (true)', name);
    EXECUTE format('CREATE POLICY tenant ON ledger.%I FOR SELECT TO agentguard_app
      USING (org_id = (SELECT NULLIF(current_setting(''app.org_id'', true), '''')))', name);
    EXECUTE format('GRANT SELECT ON ledger.%I TO agentguard_app', name);
  END LOOP;
END
$$;

CREATE POLICY configuration ON ledger.ledger_head FOR SELECT TO agentguard_hot USING (true);
GRANT SELECT ON ledger.ledger_head TO agentguard_hot;
GRANT SELECT, INSERT, UPDATE ON ledger.ledger_head TO agentguard_ledger;
GRANT SELECT, INSERT ON ledger.ledger_entry, ledger.ledger_data_key TO agentguard_ledger;
GRANT SELECT, INSERT, DELETE ON ledger.ledger_payload TO agentguard_ledger;

-- The smallest UUIDv7 that an instant can have.
CREATE FUNCTION ledger.uuid_floor(p_at timestamptz) RETURNS uuid LANGUAGE sql IMMUTABLE SET search_path = '' AS $$
  SELECT (pg_catalog.lpad(pg_catalog.to_hex((extract(epoch FROM p_at) * 1000)::bigint), 12, '0') || '00000000000000000000')::uuid
$$;

-- Makes the month partitions from the one of p_from to p_months_ahead later, for every retention class.
-- Returns the first instant that has no partition. Safe to run from several replicas at once; a table is made
-- beside the parent and then attached, so that readers and writers are not stopped.
CREATE FUNCTION ledger.ledger_ensure_partitions(p_from timestamptz, p_months_ahead integer) RETURNS timestamptz
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
REVOKE ALL ON FUNCTION ledger.ledger_ensure_partitions(timestamptz, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ledger.ledger_ensure_partitions(timestamptz, integer) TO agentguard_app;

-- The database's clock in milliseconds: the one time that all replicas are held to.
CREATE FUNCTION ledger.now_ms() RETURNS bigint LANGUAGE sql VOLATILE SET search_path = '' AS $$
  SELECT (extract(epoch FROM pg_catalog.clock_timestamp()) * 1000)::bigint
$$;

-- Who called: the login, or the role it has taken on with SET ROLE.
CREATE FUNCTION ledger.caller() RETURNS text LANGUAGE sql STABLE SET search_path = '' AS $$
  SELECT CASE pg_catalog.current_setting('role') WHEN 'none' THEN session_user::text ELSE pg_catalog.current_setting('role') END
$$;

-- Refuses a caller that is not the decision path and names another organization than its own.
CREATE FUNCTION ledger.assert_organization(p_org_id text) RETURNS void LANGUAGE plpgsql STABLE SET search_path = '' AS $$
BEGIN
  IF ledger.caller() <> 'agentguard_hot'
     AND p_org_id IS DISTINCT FROM NULLIF(pg_catalog.current_setting('app.org_id', true), '') THEN
    RAISE EXCEPTION 'organization % is not the one of this transaction', p_org_id USING ERRCODE = 'AG002';
  END IF;
END
$$;

-- Opens the log of a new organization. Its origin is fixed for good (ledger.md, Origin).
CREATE FUNCTION ledger.ledger_open(p_org_id text, p_origin text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
BEGIN
  PERFORM ledger.assert_organization(p_org_id);
  INSERT INTO ledger.ledger_head (org_id, origin) VALUES (p_org_id, p_origin);
END
$$;

-- The data key of an organization's month: the present one, or the given one when there is none yet.
CREATE FUNCTION ledger.ledger_data_key_ensure(p_org_id text, p_month date, p_dek_id uuid, p_kek_id text, p_wrapped bytea)
RETURNS TABLE (dek_id uuid, kek_id text, wrapped bytea)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
BEGIN
  PERFORM ledger.assert_organization(p_org_id);
  INSERT INTO ledger.ledger_data_key AS k (org_id, month, dek_id, kek_id, wrapped)
    VALUES (p_org_id, p_month, p_dek_id, p_kek_id, p_wrapped)
    ON CONFLICT ON CONSTRAINT ledger_data_key_pkey DO NOTHING;
  RETURN QUERY SELECT k.dek_id, k.kek_id, k.wrapped FROM ledger.ledger_data_key k
    WHERE k.org_id = p_org_id AND k.month = p_month;
END
$$;

-- Appends a batch. One element an entry in every array; entry and payload bytes are concatenated in two blobs.
-- Payload bytes are nonce (12) ‖ ciphertext ‖ tag.
--
-- Order of locks: the installation's advisory lock (shared; an installation-wide kill takes it exclusively),
-- then the heads in order of org_id. Every statement of a VOLATILE function sees what was committed before that
-- statement began, so the versions read after the head lock are the newest: whoever raised one has committed,
-- or will get the head lock after us and a higher index.
--
-- p_wait: false = the decision path, which leaves out organizations that somebody else holds (outcome 1)
--         true  = the control plane, which waits
-- p_raise: the organization's version goes up by one; the entries already name the new one
--
-- Plans are kept: the arrays differ in length from call to call, and planning anew costs as much as a small batch.
--
-- outcome: 0 appended · 1 head is held, try again · 2 stale: a version differs · 3 timestamp more than 5 s off
--          the database's clock · 4 the key expired · 5 there is no such log
CREATE FUNCTION ledger.ledger_append(
  p_wait                boolean,
  p_raise               boolean,
  p_org_id              text[],
  p_id                  uuid[],
  p_ts                  bigint[],
  p_type                text[],
  p_agent_id            text[],
  p_action_key          text[],
  p_allowed             boolean[],
  p_decision_id         uuid[],
  p_installation        bigint[],
  p_organization        bigint[],
  p_agent               bigint[],
  p_not_after           bigint[],
  p_entry_bytes         integer[],
  p_entries             bytea,
  p_payload_bytes       integer[],
  p_payloads            bytea,
  p_dek_id              uuid[]
) RETURNS TABLE (ord bigint, outcome integer, index bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  v_caller       text := CASE pg_catalog.current_setting('role') WHEN 'none' THEN session_user::text
                              ELSE pg_catalog.current_setting('role') END; -- ledger.caller(), without the call
  v_count        integer := pg_catalog.cardinality(p_id);
  v_org_id       text := p_org_id[1];
  v_head         ledger.ledger_head;
  v_locked       text[];
  v_installation bigint;
  v_now          bigint;
BEGIN
  IF v_caller = 'agentguard_hot' THEN
    IF p_raise OR NOT p_type <@ ARRAY['decision', 'action'] THEN
      RAISE EXCEPTION 'the decision path appends decisions and actions only' USING ERRCODE = 'AG002';
    END IF;
  ELSE
    PERFORM ledger.assert_organization(o) FROM (SELECT DISTINCT unnest(p_org_id)) AS t (o);
  END IF;

  PERFORM pg_catalog.pg_advisory_xact_lock_shared(72707370);

  -- Nearly every batch: one organization, its head free, and nothing to object to. Then indexes are allotted by
  -- position, and nothing has to be joined, judged and numbered row by row.
  IF NOT p_raise AND v_org_id = ALL (p_org_id) THEN
    IF p_wait THEN
      SELECT l.* INTO v_head FROM ledger.ledger_head l WHERE l.org_id = v_org_id FOR NO KEY UPDATE;
    ELSE
      SELECT l.* INTO v_head FROM ledger.ledger_head l WHERE l.org_id = v_org_id FOR NO KEY UPDATE SKIP LOCKED;
    END IF;
    SELECT c.version INTO v_installation FROM public.installation_config c;
    v_now := ledger.now_ms();
    IF v_head.org_id IS NOT NULL
       AND v_installation = ALL (p_installation) AND v_head.org_version = ALL (p_organization)
       AND v_now - 5000 <= ALL (p_ts) AND v_now + 5000 >= ALL (p_ts)
       AND (v_now < ALL (p_not_after)) IS NOT FALSE -- null: the key does not expire
       AND NOT EXISTS (
         SELECT FROM (
           SELECT DISTINCT p_agent_id[i] AS agent_id, p_agent[i] AS version
           FROM pg_catalog.generate_series(1, v_count) AS i WHERE p_agent[i] IS NOT NULL
         ) a
         LEFT JOIN public.agent_config c ON c.org_id = v_org_id AND c.agent_id = a.agent_id
         WHERE a.version IS DISTINCT FROM c.version
       ) THEN
      INSERT INTO ledger.ledger_entry
        (org_id, index, id, retention_days, ts, type, agent_id, action_key, allowed, decision_id, entry)
      SELECT v_org_id, v_head.size + t.i - 1, p_id[t.i], v_head.retention_days,
             pg_catalog.to_timestamp(p_ts[t.i]::float8 / 1000), p_type[t.i], p_agent_id[t.i], p_action_key[t.i],
             p_allowed[t.i], p_decision_id[t.i],
             pg_catalog.substr(p_entries, (t.upto - p_entry_bytes[t.i])::integer + 1, p_entry_bytes[t.i])
      FROM (
        SELECT i, sum(p_entry_bytes[i]) OVER (ORDER BY i ROWS UNBOUNDED PRECEDING) AS upto
        FROM pg_catalog.generate_series(1, v_count) AS i
      ) t;
      IF pg_catalog.octet_length(p_payloads) > 0 THEN
        INSERT INTO ledger.ledger_payload (org_id, index, retention_days, month, dek_id, nonce, body)
        SELECT v_org_id, v_head.size + t.i - 1, v_head.retention_days,
               pg_catalog.date_trunc('month', pg_catalog.to_timestamp(p_ts[t.i]::float8 / 1000), 'UTC') AT TIME ZONE 'UTC',
               p_dek_id[t.i],
               pg_catalog.substr(p_payloads, (t.upto - p_payload_bytes[t.i])::integer + 1, 12),
               pg_catalog.substr(p_payloads, (t.upto - p_payload_bytes[t.i])::integer + 13, p_payload_bytes[t.i] - 12)
        FROM (
          SELECT i, sum(p_payload_bytes[i]) OVER (ORDER BY i ROWS UNBOUNDED PRECEDING) AS upto
          FROM pg_catalog.generate_series(1, v_count) AS i
        ) t
        WHERE p_payload_bytes[t.i] > 0;
      END IF;
      UPDATE ledger.ledger_head l SET size = l.size + v_count WHERE l.org_id = v_org_id;
      RETURN QUERY SELECT i::bigint, 0, v_head.size + i - 1 FROM pg_catalog.generate_series(1, v_count) AS i;
      RETURN;
    END IF;
  END IF;

  IF p_wait THEN
    SELECT pg_catalog.array_agg(h.org_id) INTO v_locked FROM (
      SELECT l.org_id FROM ledger.ledger_head l WHERE l.org_id = ANY (p_org_id) ORDER BY l.org_id FOR NO KEY UPDATE
    ) h;
  ELSE
    SELECT pg_catalog.array_agg(h.org_id) INTO v_locked FROM (
      SELECT l.org_id FROM ledger.ledger_head l WHERE l.org_id = ANY (p_org_id) ORDER BY l.org_id FOR NO KEY UPDATE SKIP LOCKED
    ) h;
  END IF;

  SELECT c.version INTO v_installation FROM public.installation_config c;
  v_now := ledger.now_ms();

  RETURN QUERY
  WITH input AS (
    SELECT t.*,
           sum(t.entry_bytes) OVER (ORDER BY t.ord) - t.entry_bytes AS entry_at,
           sum(t.payload_bytes) OVER (ORDER BY t.ord) - t.payload_bytes AS payload_at
    FROM unnest(p_org_id, p_id, p_ts, p_type, p_agent_id, p_action_key, p_allowed, p_decision_id, p_installation,
                p_organization, p_agent, p_not_after, p_entry_bytes, p_payload_bytes, p_dek_id)
      WITH ORDINALITY AS t (org_id, id, ts, type, agent_id, action_key, allowed, decision_id, installation,
                            organization, agent, not_after, entry_bytes, payload_bytes, dek_id, ord)
  ), judged AS (
    SELECT i.*, h.size, h.retention_days,
           CASE
             WHEN h.org_id IS NULL THEN
               CASE WHEN EXISTS (SELECT FROM ledger.ledger_head x WHERE x.org_id = i.org_id) THEN 1 ELSE 5 END
             WHEN i.installation IS DISTINCT FROM v_installation
               OR i.organization IS DISTINCT FROM h.org_version + p_raise::integer
               OR i.agent IS NOT NULL AND i.agent IS DISTINCT FROM c.version THEN 2
             WHEN i.not_after <= v_now THEN 4
             WHEN abs(i.ts - v_now) > 5000 THEN 3
             ELSE 0
           END AS outcome
    FROM input i
    LEFT JOIN ledger.ledger_head h ON h.org_id = i.org_id AND h.org_id = ANY (v_locked)
    LEFT JOIN public.agent_config c ON c.org_id = i.org_id AND c.agent_id = i.agent_id AND i.agent IS NOT NULL
  ), numbered AS (
    SELECT j.*, j.size + row_number() OVER (PARTITION BY j.org_id ORDER BY j.ord) - 1 AS at
    FROM judged j WHERE j.outcome = 0
  ), entries AS (
    INSERT INTO ledger.ledger_entry
      (org_id, index, id, retention_days, ts, type, agent_id, action_key, allowed, decision_id, entry)
    SELECT n.org_id, n.at, n.id, n.retention_days, pg_catalog.to_timestamp(n.ts / 1000.0), n.type, n.agent_id,
           n.action_key, n.allowed, n.decision_id,
           pg_catalog.substr(p_entries, n.entry_at::integer + 1, n.entry_bytes)
    FROM numbered n
  ), payloads AS (
    INSERT INTO ledger.ledger_payload (org_id, index, retention_days, month, dek_id, nonce, body)
    SELECT n.org_id, n.at, n.retention_days,
           pg_catalog.date_trunc('month', pg_catalog.to_timestamp(n.ts / 1000.0), 'UTC') AT TIME ZONE 'UTC', n.dek_id,
           pg_catalog.substr(p_payloads, n.payload_at::integer + 1, 12),
           pg_catalog.substr(p_payloads, n.payload_at::integer + 13, n.payload_bytes - 12)
    FROM numbered n WHERE n.payload_bytes > 0
  ), heads AS (
    UPDATE ledger.ledger_head l
    SET size = l.size + s.added, org_version = l.org_version + p_raise::integer
    FROM (SELECT n.org_id, count(*) AS added FROM numbered n GROUP BY n.org_id) s
    WHERE l.org_id = s.org_id
  )
  SELECT j.ord, j.outcome, n.at FROM judged j LEFT JOIN numbered n ON n.ord = j.ord;
END
$$;

-- Which of these entries are in the log: after a connection broke during COMMIT.
CREATE FUNCTION ledger.ledger_find(p_org_id text[], p_id uuid[]) RETURNS TABLE (id uuid, index bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' AS $$
  SELECT e.id, e.index FROM unnest(p_org_id, p_id) AS t (org_id, id)
  JOIN ledger.ledger_entry e ON e.org_id = t.org_id AND e.id = t.id
$$;

DO $$
DECLARE
  signature text;
BEGIN
  FOR signature IN
    SELECT p.oid::regprocedure::text FROM pg_proc p
    WHERE p.pronamespace = 'ledger'::regnamespace
      AND p.proname IN ('ledger_open', 'ledger_data_key_ensure', 'ledger_append', 'ledger_find', 'caller', 'assert_organization')
  LOOP
    EXECUTE format('ALTER FUNCTION %s OWNER TO agentguard_ledger', signature);
    EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', signature);
  END LOOP;
END
$$;
GRANT EXECUTE ON FUNCTION ledger.ledger_open TO agentguard_app;
GRANT EXECUTE ON FUNCTION ledger.ledger_data_key_ensure, ledger.ledger_append TO agentguard_app, agentguard_hot;
GRANT EXECUTE ON FUNCTION ledger.ledger_find TO agentguard_hot;
REVOKE CREATE ON SCHEMA ledger FROM agentguard_ledger;

SELECT ledger.ledger_ensure_partitions(CURRENT_TIMESTAMP, 1);
