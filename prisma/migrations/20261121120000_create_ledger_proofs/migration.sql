-- Proofs (ledger.md, Storage and Signing): the Merkle tree over every log, in tiles, and its signed checkpoints.
-- Nothing here is the truth, which is the entries; everything can be made again from them, and what was signed
-- cannot be taken back. A tree belongs to an epoch of its log: a new epoch begins a new signed history over the same
-- entries, and the tiles and checkpoints of the epoch before stay as they were.

GRANT CREATE ON SCHEMA ledger TO agentguard_ledger;

-- How many entries of the log are in the tree, and how many the newest checkpoint covers. The first moves in one
-- transaction with the tiles, the second with the checkpoint.
CREATE TABLE ledger.ledger_tree (
  org_id     TEXT           NOT NULL REFERENCES ledger.ledger_head (org_id) ON DELETE RESTRICT,
  epoch      INTEGER        NOT NULL,
  size       BIGINT         NOT NULL CHECK (size > 0),
  signed     BIGINT         NOT NULL DEFAULT 0,
  created_at TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  PRIMARY KEY (org_id, epoch)
) WITH (fillfactor = 50);

-- C2SP tlog-tiles: up to 256 hashes of complete subtrees, 32 bytes each. Only the last tile of a level is not full,
-- and it only grows, so the tile of any earlier tree size is a prefix of what is stored.
CREATE TABLE ledger.ledger_tile (
  org_id TEXT     NOT NULL,
  epoch  INTEGER  NOT NULL,
  level  SMALLINT NOT NULL,
  tile   BIGINT   NOT NULL,
  hashes BYTEA    NOT NULL,
  PRIMARY KEY (org_id, epoch, level, tile),
  CHECK (octet_length(hashes) BETWEEN 32 AND 8192 AND octet_length(hashes) % 32 = 0)
) WITH (fillfactor = 80);
-- Hashes do not compress: trying to costs time only.
ALTER TABLE ledger.ledger_tile ALTER COLUMN hashes SET STORAGE EXTERNAL;

-- What was signed: the newest, and the first of every hour.
CREATE TABLE ledger.ledger_checkpoint (
  org_id     TEXT           NOT NULL,
  epoch      INTEGER        NOT NULL,
  size       BIGINT         NOT NULL,
  root       BYTEA          NOT NULL CHECK (octet_length(root) = 32),
  note       TEXT           NOT NULL,
  created_at TIMESTAMPTZ(3) NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (org_id, epoch, size)
);

-- Logs that are not signed any more, and why: something differed from what had been signed. Final for its epoch.
CREATE TABLE ledger.ledger_halt (
  org_id    TEXT           NOT NULL,
  epoch     INTEGER        NOT NULL,
  index     BIGINT,
  reason    TEXT           NOT NULL,
  halted_at TIMESTAMPTZ(3) NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (org_id, epoch)
);

-- The keys that checkpoints of this installation are or were signed with. Belongs to no organization.
CREATE TABLE ledger.ledger_signer_key (
  vkey       TEXT           NOT NULL PRIMARY KEY,
  name       TEXT           NOT NULL,
  valid_from TIMESTAMPTZ(3) NOT NULL DEFAULT clock_timestamp(),
  valid_to   TIMESTAMPTZ(3)
);

-- A tile may only get longer, a tree only larger.
CREATE FUNCTION ledger.refuse_shrinking() RETURNS trigger LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
  IF TG_TABLE_NAME = 'ledger_tile' THEN
    IF (NEW.org_id, NEW.epoch, NEW.level, NEW.tile) = (OLD.org_id, OLD.epoch, OLD.level, OLD.tile)
       AND pg_catalog.substr(NEW.hashes, 1, pg_catalog.octet_length(OLD.hashes)) = OLD.hashes THEN
      RETURN NEW;
    END IF;
  ELSIF (NEW.org_id, NEW.epoch) = (OLD.org_id, OLD.epoch) AND NEW.size >= OLD.size AND NEW.signed >= OLD.signed THEN
    RETURN NEW;
  END IF;
  RAISE EXCEPTION 'the ledger is append-only: % on %.% refused', TG_OP, TG_TABLE_SCHEMA, TG_TABLE_NAME
    USING ERRCODE = 'AG001';
END
$$;

-- Checkpoints are thinned out by the function that publishes them, and only there.
CREATE FUNCTION ledger.refuse_checkpoint_change() RETURNS trigger LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
  IF TG_OP = 'DELETE' AND current_user = 'agentguard_ledger' THEN
    RETURN NULL;
  END IF;
  RAISE EXCEPTION 'the ledger is append-only: % on %.% refused', TG_OP, TG_TABLE_SCHEMA, TG_TABLE_NAME
    USING ERRCODE = 'AG001';
END
$$;

DO $$
DECLARE
  name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['ledger_tree', 'ledger_tile', 'ledger_checkpoint', 'ledger_halt', 'ledger_signer_key'] LOOP
    EXECUTE format('ALTER TABLE ledger.%I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE ledger.%I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY ledger ON ledger.%I TO agentguard_ledger USING (true) WITH CHECK (true)', name);
    EXECUTE format('GRANT SELECT, INSERT ON ledger.%I TO agentguard_ledger', name);
    -- Hashes and signatures of every log, no tenant's text: the workers see which logs have something new.
    EXECUTE format('CREATE POLICY proofs ON ledger.%I FOR SELECT TO agentguard_hot USING (true)', name);
    EXECUTE format('GRANT SELECT ON ledger.%I TO agentguard_app, agentguard_hot', name);
    IF name = 'ledger_signer_key' THEN
      EXECUTE format('CREATE POLICY installation ON ledger.%I FOR SELECT TO agentguard_app USING (true)', name);
    ELSE
      EXECUTE format('CREATE POLICY tenant ON ledger.%I FOR SELECT TO agentguard_app
        USING (org_id = (SELECT NULLIF(current_setting(''app.org_id'', true), '''')))', name);
    END IF;
    IF name IN ('ledger_tree', 'ledger_tile') THEN
      EXECUTE format('CREATE TRIGGER only_grows BEFORE UPDATE ON ledger.%I
        FOR EACH ROW EXECUTE FUNCTION ledger.refuse_shrinking()', name);
      EXECUTE format('ALTER TABLE ledger.%I ENABLE ALWAYS TRIGGER only_grows', name);
      EXECUTE format('CREATE TRIGGER append_only BEFORE DELETE OR TRUNCATE ON ledger.%I
        FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change()', name);
    ELSIF name = 'ledger_checkpoint' THEN
      EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger.%I
        FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_checkpoint_change()', name);
    ELSIF name = 'ledger_signer_key' THEN
      EXECUTE format('CREATE TRIGGER append_only BEFORE DELETE OR TRUNCATE ON ledger.%I
        FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change()', name);
    ELSE
      EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger.%I
        FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change()', name);
    END IF;
    EXECUTE format('ALTER TABLE ledger.%I ENABLE ALWAYS TRIGGER append_only', name);
  END LOOP;
END
$$;
GRANT UPDATE ON ledger.ledger_tree, ledger.ledger_tile, ledger.ledger_signer_key TO agentguard_ledger;
GRANT DELETE ON ledger.ledger_checkpoint TO agentguard_ledger;

-- Takes the tree from p_from to p_size entries: hashes are appended to the tiles named, each at the place where it
-- now ends, and the size moves with them. False, with nothing written, when the tree is not at p_from any more:
-- another worker was faster. Every statement of it is one transaction with the caller's reading of the entries.
CREATE FUNCTION ledger.ledger_integrate(
  p_org_id text, p_epoch integer, p_from bigint, p_size bigint,
  p_level smallint[], p_tile bigint[], p_width integer[], p_hashes bytea[]
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
  v_written integer;
BEGIN
  PERFORM ledger.assert_organization(p_org_id);
  IF NOT EXISTS (SELECT FROM ledger.ledger_head h
                 WHERE h.org_id = p_org_id AND h.epoch = p_epoch AND h.size >= p_size) OR p_size <= p_from THEN
    RETURN false;
  END IF;
  IF p_from = 0 THEN
    INSERT INTO ledger.ledger_tree (org_id, epoch, size) VALUES (p_org_id, p_epoch, p_size)
      ON CONFLICT ON CONSTRAINT ledger_tree_pkey DO NOTHING;
  ELSE
    UPDATE ledger.ledger_tree t SET size = p_size
      WHERE t.org_id = p_org_id AND t.epoch = p_epoch AND t.size = p_from;
  END IF;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  WITH written AS (
    INSERT INTO ledger.ledger_tile AS t (org_id, epoch, level, tile, hashes)
    SELECT p_org_id, p_epoch, n.level, n.tile, n.hashes
    FROM unnest(p_level, p_tile, p_width, p_hashes) AS n (level, tile, width, hashes) WHERE n.width = 0
    ON CONFLICT ON CONSTRAINT ledger_tile_pkey DO NOTHING
    RETURNING 1
  ), grown AS (
    UPDATE ledger.ledger_tile t SET hashes = t.hashes || n.hashes
    FROM unnest(p_level, p_tile, p_width, p_hashes) AS n (level, tile, width, hashes)
    WHERE n.width > 0 AND t.org_id = p_org_id AND t.epoch = p_epoch AND t.level = n.level AND t.tile = n.tile
      AND pg_catalog.octet_length(t.hashes) = n.width * 32
    RETURNING 1
  )
  SELECT (SELECT count(*) FROM written) + (SELECT count(*) FROM grown) INTO v_written;
  IF v_written <> pg_catalog.cardinality(p_tile) THEN
    RAISE EXCEPTION 'the tiles of % do not end where its tree of % entries does', p_org_id, p_from USING ERRCODE = 'AG003';
  END IF;
  RETURN true;
END
$$;

-- Publishes checkpoints, one element a log. A checkpoint that is not larger than the newest one, of a log that has
-- been halted, or beyond the tree, is left out; answers the organizations whose checkpoint is now the newest.
CREATE FUNCTION ledger.ledger_publish(
  p_org_id text[], p_epoch integer[], p_size bigint[], p_root bytea[], p_note text[]
) RETURNS SETOF text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
  v_newest ledger.ledger_checkpoint;
BEGIN
  FOR i IN 1..pg_catalog.cardinality(p_org_id) LOOP
    PERFORM ledger.assert_organization(p_org_id[i]);
    -- Publishers of one log take turns.
    PERFORM FROM ledger.ledger_tree t
      WHERE t.org_id = p_org_id[i] AND t.epoch = p_epoch[i] AND t.size >= p_size[i] FOR UPDATE;
    CONTINUE WHEN NOT FOUND;
    CONTINUE WHEN EXISTS (SELECT FROM ledger.ledger_halt h WHERE h.org_id = p_org_id[i] AND h.epoch = p_epoch[i]);
    SELECT * INTO v_newest FROM ledger.ledger_checkpoint c
      WHERE c.org_id = p_org_id[i] AND c.epoch = p_epoch[i] ORDER BY c.size DESC LIMIT 1;
    CONTINUE WHEN v_newest.size >= p_size[i];
    INSERT INTO ledger.ledger_checkpoint (org_id, epoch, size, root, note)
      VALUES (p_org_id[i], p_epoch[i], p_size[i], p_root[i], p_note[i]);
    UPDATE ledger.ledger_tree t SET signed = p_size[i] WHERE t.org_id = p_org_id[i] AND t.epoch = p_epoch[i];
    -- The one before stays only as the first of its hour.
    DELETE FROM ledger.ledger_checkpoint c
      WHERE c.org_id = p_org_id[i] AND c.epoch = p_epoch[i] AND c.size = v_newest.size
        AND EXISTS (SELECT FROM ledger.ledger_checkpoint e
                    WHERE e.org_id = c.org_id AND e.epoch = c.epoch AND e.size < c.size
                      AND pg_catalog.date_trunc('hour', e.created_at, 'UTC') = pg_catalog.date_trunc('hour', c.created_at, 'UTC'));
    RETURN NEXT p_org_id[i];
  END LOOP;
END
$$;

-- Records that a log is not to be signed any more in this epoch. The first reason stays.
CREATE FUNCTION ledger.ledger_halt(p_org_id text, p_epoch integer, p_index bigint, p_reason text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
BEGIN
  PERFORM ledger.assert_organization(p_org_id);
  INSERT INTO ledger.ledger_halt (org_id, epoch, index, reason) VALUES (p_org_id, p_epoch, p_index, p_reason)
    ON CONFLICT ON CONSTRAINT ledger_halt_pkey DO NOTHING;
END
$$;

-- Records the key that signs from now on. The one that signed before ends now.
CREATE FUNCTION ledger.ledger_signer_key(p_name text, p_vkey text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
BEGIN
  IF ledger.caller() <> 'agentguard_hot' THEN
    RAISE EXCEPTION 'only the signer records its key' USING ERRCODE = 'AG002';
  END IF;
  INSERT INTO ledger.ledger_signer_key (vkey, name) VALUES (p_vkey, p_name)
    ON CONFLICT ON CONSTRAINT ledger_signer_key_pkey DO UPDATE SET valid_to = NULL
    WHERE ledger_signer_key.valid_to IS NOT NULL;
  UPDATE ledger.ledger_signer_key k SET valid_to = pg_catalog.clock_timestamp()
    WHERE k.vkey <> p_vkey AND k.valid_to IS NULL;
END
$$;

-- Begins a new signed history of a log, in the transaction that appends the entry which says so: the same entries
-- at the same indexes, signed under the origin of the next epoch.
CREATE FUNCTION ledger.ledger_epoch_start(p_org_id text) RETURNS TABLE (epoch integer, origin text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
BEGIN
  PERFORM ledger.assert_organization(p_org_id);
  PERFORM pg_catalog.pg_advisory_xact_lock_shared(72707370); -- before the head, in ledger_append's order of locks
  RETURN QUERY
  UPDATE ledger.ledger_head h
    SET epoch = h.epoch + 1, origin = pg_catalog.regexp_replace(h.origin, '/e[0-9]+$', '/e' || (h.epoch + 1))
    WHERE h.org_id = p_org_id
    RETURNING h.epoch, h.origin;
END
$$;

DO $$
DECLARE
  signature text;
BEGIN
  FOR signature IN
    SELECT p.oid::regprocedure::text FROM pg_proc p
    WHERE p.pronamespace = 'ledger'::regnamespace
      AND p.proname IN ('ledger_integrate', 'ledger_publish', 'ledger_halt', 'ledger_signer_key', 'ledger_epoch_start')
  LOOP
    EXECUTE format('ALTER FUNCTION %s OWNER TO agentguard_ledger', signature);
    EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', signature);
  END LOOP;
END
$$;
GRANT EXECUTE ON FUNCTION ledger.ledger_integrate, ledger.ledger_epoch_start TO agentguard_app;
GRANT EXECUTE ON FUNCTION ledger.ledger_halt TO agentguard_app, agentguard_hot;
GRANT EXECUTE ON FUNCTION ledger.ledger_publish, ledger.ledger_signer_key TO agentguard_hot;
REVOKE CREATE ON SCHEMA ledger FROM agentguard_ledger;
