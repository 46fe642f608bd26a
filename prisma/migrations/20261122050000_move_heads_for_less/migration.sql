-- What a batch costs PostgreSQL to append (bench/NOTES.md, PostgreSQL's CPU a decision).

-- A CHECK is parsed and evaluated anew by each statement that changes a row, whatever it changes: every batch moves the size
-- of a head, and none its class. The rule holds without it: a class gets into a head by `ledger_retention_set` alone, which
-- writes it to `ledger_retention` first, where it is checked; and entries of a class that there is not have no partition.
ALTER TABLE ledger.ledger_head DROP CONSTRAINT ledger_head_retention_days_check;
