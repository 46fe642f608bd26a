-- How much harm an agent can do, as people rate it: by that its requests wait for stricter workflows. Null: nobody has
-- rated it, and nothing claims that somebody had.
ALTER TABLE agents
  ADD COLUMN risk_level TEXT,
  ADD CONSTRAINT agents_risk_level_known CHECK (risk_level IN ('low', 'medium', 'high', 'critical'));

-- Which workflow each level asks by besides those of the rules, as an organization chose it. Null: as shipped.
ALTER TABLE approval_settings ADD COLUMN risk_workflows JSONB;
