-- Erasing payloads, and rotating the keys they are sealed with (ledger.md, Payload). An entry itself is never erased.

GRANT CREATE ON SCHEMA ledger TO agentguard_ledger;

-- Data keys: several for one month, of which the newest seals. Every payload names the one it was sealed with.
ALTER TABLE ledger.ledger_data_key DROP CONSTRAINT ledger_data_key_pkey;
ALTER TABLE ledger.ledger_data_key ADD PRIMARY KEY (org_id, month, dek_id);
GRANT UPDATE (kek_id, wrapped) ON ledger.ledger_data_key TO agentguard_ledger;

-- The data key that seals in an organization's month: the newest one, or the given one when there is none yet.
CREATE OR REPLACE FUNCTION ledger.ledger_data_key_ensure(p_org_id text, p_month date, p_dek_id uuid, p_kek_id text, p_wrapped bytea)
RETURNS TABLE (dek_id uuid, kek_id text, wrapped bytea)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
BEGIN
  PERFORM ledger.assert_organization(p_org_id);
  IF NOT EXISTS (SELECT FROM ledger.ledger_data_key k WHERE k.org_id = p_org_id AND k.month = p_month) THEN
    -- Two that find none take turns; the second then finds the first one's.
    PERFORM pg_catalog.pg_advisory_xact_lock(72707372, pg_catalog.hashtext(p_org_id || p_month));
    INSERT INTO ledger.ledger_data_key AS k (org_id, month, dek_id, kek_id, wrapped)
      SELECT p_org_id, p_month, p_dek_id, p_kek_id, p_wrapped
      WHERE NOT EXISTS (SELECT FROM ledger.ledger_data_key k WHERE k.org_id = p_org_id AND k.month = p_month);
  END IF;
  RETURN QUERY SELECT k.dek_id, k.kek_id, k.wrapped FROM ledger.ledger_data_key k
    WHERE k.org_id = p_org_id AND k.month = p_month ORDER BY k.created_at DESC, k.dek_id DESC LIMIT 1;
END
$$;

-- The data key with this id, for opening what it sealed.
CREATE FUNCTION ledger.ledger_data_key_find(p_org_id text, p_month date, p_dek_id uuid)
RETURNS TABLE (dek_id uuid, kek_id text, wrapped bytea)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = '' AS $$
BEGIN
  PERFORM ledger.assert_organization(p_org_id);
  RETURN QUERY SELECT k.dek_id, k.kek_id, k.wrapped FROM ledger.ledger_data_key k
    WHERE k.org_id = p_org_id AND k.month = p_month AND k.dek_id = p_dek_id;
END
$$;

-- A new data key for the month, which seals from now on. Those before keep opening what they sealed.
CREATE FUNCTION ledger.ledger_data_key_add(p_org_id text, p_month date, p_dek_id uuid, p_kek_id text, p_wrapped bytea)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
BEGIN
  PERFORM ledger.assert_organization(p_org_id);
  INSERT INTO ledger.ledger_data_key (org_id, month, dek_id, kek_id, wrapped, created_at)
    VALUES (p_org_id, p_month, p_dek_id, p_kek_id, p_wrapped, pg_catalog.clock_timestamp());
END
$$;

-- Puts a data key under another key-encryption key, if it still is under the one it was read with.
CREATE FUNCTION ledger.ledger_data_key_rewrap(
  p_org_id text, p_month date, p_dek_id uuid, p_from_kek_id text, p_kek_id text, p_wrapped bytea
) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
BEGIN
  PERFORM ledger.assert_organization(p_org_id);
  UPDATE ledger.ledger_data_key k SET kek_id = p_kek_id, wrapped = p_wrapped
    WHERE k.org_id = p_org_id AND k.month = p_month AND k.dek_id = p_dek_id AND k.kek_id = p_from_kek_id;
  RETURN FOUND;
END
$$;

-- Which payloads were erased. A row may only be committed together with the log entry that says so: the trigger
-- below looks for it at the end of the transaction, so no path of the application erases without evidence.
CREATE TABLE ledger.ledger_erasure (
  org_id     TEXT           NOT NULL REFERENCES ledger.ledger_head (org_id) ON DELETE RESTRICT,
  erasure_id UUID           NOT NULL,
  from_index BIGINT         NOT NULL,
  upto_index BIGINT         NOT NULL CHECK (upto_index >= from_index),
  agent_id   TEXT,
  erased     BIGINT         NOT NULL CHECK (erased >= 0),
  -- The log's size before: the entry that says so has this index or a higher one.
  log_size   BIGINT         NOT NULL,
  erased_at  TIMESTAMPTZ(3) NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (org_id, erasure_id)
);

CREATE FUNCTION ledger.require_redaction() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM ledger.ledger_entry e
                 WHERE e.org_id = NEW.org_id AND e.index >= NEW.log_size AND e.type = 'redaction') THEN
    RAISE EXCEPTION 'payloads are erased only together with the entry that records it' USING ERRCODE = 'AG001';
  END IF;
  RETURN NULL;
END
$$;

DO $$
BEGIN
  ALTER TABLE ledger.ledger_erasure ENABLE ROW LEVEL SECURITY;
  ALTER TABLE ledger.ledger_erasure FORCE ROW LEVEL SECURITY;
  CREATE POLICY ledger ON ledger.ledger_erasure TO agentguard_ledger USING (true) WITH CHECK (true);
  CREATE POLICY tenant ON ledger.ledger_erasure FOR SELECT TO agentguard_app
    USING (org_id = (SELECT NULLIF(current_setting('app.org_id', true), '')));
  GRANT SELECT ON ledger.ledger_erasure TO agentguard_app;
  GRANT SELECT, INSERT ON ledger.ledger_erasure TO agentguard_ledger;
  CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger.ledger_erasure
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();
  ALTER TABLE ledger.ledger_erasure ENABLE ALWAYS TRIGGER append_only;
  CREATE CONSTRAINT TRIGGER evidenced AFTER INSERT ON ledger.ledger_erasure
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION ledger.require_redaction();
  ALTER TABLE ledger.ledger_erasure ENABLE ALWAYS TRIGGER evidenced;
END
$$;

-- Erases the payloads of the entries from ≤ index ≤ upto, of one agent if it is given. Answers how many there were.
CREATE FUNCTION ledger.ledger_erase(p_org_id text, p_erasure_id uuid, p_from bigint, p_upto bigint, p_agent_id text)
RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
  v_erased bigint;
  v_size   bigint;
BEGIN
  PERFORM ledger.assert_organization(p_org_id);
  SELECT h.size INTO v_size FROM ledger.ledger_head h WHERE h.org_id = p_org_id;
  IF p_agent_id IS NULL THEN
    DELETE FROM ledger.ledger_payload p WHERE p.org_id = p_org_id AND p.index BETWEEN p_from AND p_upto;
  ELSE
    DELETE FROM ledger.ledger_payload p USING ledger.ledger_entry e
      WHERE e.org_id = p_org_id AND e.agent_id = p_agent_id AND e.index BETWEEN p_from AND p_upto
        AND p.org_id = p_org_id AND p.index = e.index;
  END IF;
  GET DIAGNOSTICS v_erased = ROW_COUNT;
  INSERT INTO ledger.ledger_erasure (org_id, erasure_id, from_index, upto_index, agent_id, erased, log_size)
    VALUES (p_org_id, p_erasure_id, p_from, p_upto, p_agent_id, v_erased, v_size);
  RETURN v_erased;
END
$$;

DO $$
DECLARE
  signature text;
BEGIN
  FOR signature IN
    SELECT p.oid::regprocedure::text FROM pg_proc p
    WHERE p.pronamespace = 'ledger'::regnamespace
      AND p.proname IN ('ledger_data_key_find', 'ledger_data_key_add', 'ledger_data_key_rewrap', 'ledger_erase', 'require_redaction')
  LOOP
    EXECUTE format('ALTER FUNCTION %s OWNER TO agentguard_ledger', signature);
    EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', signature);
  END LOOP;
END
$$;
GRANT EXECUTE ON FUNCTION ledger.ledger_data_key_find TO agentguard_app, agentguard_hot;
GRANT EXECUTE ON FUNCTION ledger.ledger_data_key_add, ledger.ledger_data_key_rewrap, ledger.ledger_erase TO agentguard_app;
REVOKE CREATE ON SCHEMA ledger FROM agentguard_ledger;
