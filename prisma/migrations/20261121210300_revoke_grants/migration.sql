-- What people granted can be taken back, also after some of its uses: such an approval ends as cancelled, and keeps how
-- often it was used.
ALTER TABLE approvals
  DROP CONSTRAINT approvals_used_as_granted,
  ADD CONSTRAINT approvals_used_as_granted
    CHECK (grant_used = 0 OR (status IN ('approved', 'cancelled') AND grant_used <= grant_uses));
