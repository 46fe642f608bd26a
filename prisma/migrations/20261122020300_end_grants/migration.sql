-- What people granted an agent ends with it, also when the process that ended the agent did not get that far: the workers
-- find grants that could still be used, which are few among all that ever were.
CREATE INDEX approvals_usable_idx ON approvals (grant_expires_at)
  WHERE status = 'approved' AND grant_used < grant_uses;
GRANT SELECT (grant_uses, grant_expires_at) ON approvals TO agentguard_hot;
