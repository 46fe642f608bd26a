-- What was denied is found without walking the whole log (GET /logs?allowed=false): a page of it took 1.3 s a million
-- entries where few are denied. An allow, by far the most of a busy log, is not in the index and costs nothing more.
CREATE INDEX ledger_entry_org_id_index_denied_idx ON ledger.ledger_entry (org_id, index)
  WHERE NOT allowed;
