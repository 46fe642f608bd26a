-- How many requests may wait for people at once: of one agent, so that none buries what others ask, and of all together.
ALTER TABLE approval_settings
  ADD COLUMN max_waiting_per_agent INTEGER NOT NULL DEFAULT 100,
  ADD COLUMN max_waiting           INTEGER NOT NULL DEFAULT 10000,
  ADD CONSTRAINT approval_settings_some_may_wait CHECK (max_waiting_per_agent > 0 AND max_waiting > 0);

-- What waits is counted whenever people are asked; what was decided is by far the most.
CREATE INDEX approvals_waiting_idx ON approvals (org_id, agent_id) WHERE status = 'pending';
