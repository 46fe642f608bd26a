-- Reports and approvals are found by the decision they name (GET /logs?decision_id=). Decisions themselves name none, so
-- the index costs the decision path nothing.
CREATE INDEX ledger_entry_org_id_decision_id_idx ON ledger.ledger_entry (org_id, decision_id)
  WHERE decision_id IS NOT NULL;
