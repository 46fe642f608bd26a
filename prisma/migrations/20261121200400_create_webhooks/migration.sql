-- Events out: webhooks, notifications, and the deliveries to both. The log is the outbox: a cursor an organization says
-- how far it was read, and moves in the transaction that adds the deliveries of what was read (docs/adr/0004).

-- Endpoints that receive events. Only entries from from_index on are theirs.
CREATE TABLE webhooks (
  org_id          TEXT           NOT NULL,
  webhook_id      TEXT           NOT NULL,
  name            TEXT           NOT NULL,
  url             TEXT           NOT NULL,
  events          TEXT[]         NOT NULL,
  team            TEXT,
  mode            TEXT           NOT NULL DEFAULT 'standard',
  ordered         BOOLEAN        NOT NULL DEFAULT false,
  include_payload BOOLEAN        NOT NULL DEFAULT false,
  is_enabled      BOOLEAN        NOT NULL DEFAULT true,
  disabled_reason TEXT,
  failing_since   TIMESTAMPTZ(3),
  from_index      BIGINT         NOT NULL,
  created_at      TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  updated_at      TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  created_by      TEXT           NOT NULL,
  CONSTRAINT webhooks_pkey PRIMARY KEY (org_id, webhook_id),
  CONSTRAINT webhooks_org_id_fkey FOREIGN KEY (org_id) REFERENCES organizations (org_id) ON DELETE RESTRICT ON UPDATE RESTRICT,
  CONSTRAINT webhooks_org_id_team_fkey FOREIGN KEY (org_id, team) REFERENCES teams (org_id, team) ON DELETE RESTRICT ON UPDATE RESTRICT,
  CONSTRAINT webhooks_mode_known CHECK (mode IN ('standard', 'cloudevents')),
  CONSTRAINT webhooks_reason_fits CHECK (is_enabled = (disabled_reason IS NULL)),
  CONSTRAINT webhooks_reason_known CHECK (disabled_reason IN ('requested', 'gone', 'failing'))
);

-- What their messages are signed with: the newest, and during a rotation the one before. Sealed (KeyRing).
CREATE TABLE webhook_secrets (
  org_id     TEXT           NOT NULL,
  webhook_id TEXT           NOT NULL,
  secret_id  TEXT           NOT NULL,
  sealed     TEXT           NOT NULL,
  created_at TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  expires_at TIMESTAMPTZ(3),
  CONSTRAINT webhook_secrets_pkey PRIMARY KEY (org_id, webhook_id, secret_id),
  CONSTRAINT webhook_secrets_org_id_webhook_id_fkey FOREIGN KEY (org_id, webhook_id) REFERENCES webhooks (org_id, webhook_id) ON DELETE CASCADE ON UPDATE RESTRICT
);

-- Who is told by e-mail or chat. The chat's URL is a secret (whoever knows it may write there), so it is sealed.
CREATE TABLE notification_settings (
  org_id           TEXT           NOT NULL,
  email_recipients TEXT[]         NOT NULL,
  email_events     TEXT[]         NOT NULL,
  slack_url        TEXT,
  slack_events     TEXT[]         NOT NULL,
  from_index       BIGINT         NOT NULL,
  updated_at       TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  updated_by       TEXT           NOT NULL,
  CONSTRAINT notification_settings_pkey PRIMARY KEY (org_id),
  CONSTRAINT notification_settings_org_id_fkey FOREIGN KEY (org_id) REFERENCES organizations (org_id) ON DELETE RESTRICT ON UPDATE RESTRICT
);

-- The next entry of the log that has not been turned into deliveries. Only organizations that ever had a destination.
CREATE TABLE event_cursors (
  org_id     TEXT   NOT NULL,
  next_index BIGINT NOT NULL,
  CONSTRAINT event_cursors_pkey PRIMARY KEY (org_id),
  CONSTRAINT event_cursors_org_id_fkey FOREIGN KEY (org_id) REFERENCES organizations (org_id) ON DELETE RESTRICT ON UPDATE RESTRICT
);

-- One row an entry and destination: the key makes a second delivery of the same entry impossible, whoever adds it.
-- A delivery that is being attempted is pending with next_attempt_at in the future: when its process dies, it is due
-- again by itself. `attempts` tells the attempts apart, so that a late one cannot overwrite its successor.
CREATE TABLE deliveries (
  org_id          TEXT           NOT NULL,
  destination_id  TEXT           NOT NULL,
  log_index       BIGINT         NOT NULL,
  log_id          UUID           NOT NULL,
  event           TEXT           NOT NULL,
  status          TEXT           NOT NULL DEFAULT 'pending',
  attempts        INTEGER        NOT NULL DEFAULT 0,
  next_attempt_at TIMESTAMPTZ(3) NOT NULL,
  last_attempt_at TIMESTAMPTZ(3),
  delivered_at    TIMESTAMPTZ(3),
  response_status INTEGER,
  latency_ms      INTEGER,
  error           TEXT,
  created_at      TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  CONSTRAINT deliveries_pkey PRIMARY KEY (org_id, destination_id, log_index),
  CONSTRAINT deliveries_org_id_fkey FOREIGN KEY (org_id) REFERENCES organizations (org_id) ON DELETE RESTRICT ON UPDATE RESTRICT,
  CONSTRAINT deliveries_status_known CHECK (status IN ('pending', 'delivered', 'failed', 'cancelled'))
) WITH (fillfactor = 80);
CREATE INDEX deliveries_org_id_created_at_idx ON deliveries (org_id, created_at);
-- What is waiting, by destination: the first of each is found without reading the others.
CREATE INDEX deliveries_pending_idx ON deliveries (org_id, destination_id, next_attempt_at) WHERE status = 'pending';
CREATE INDEX deliveries_pending_order_idx ON deliveries (org_id, destination_id, log_index) WHERE status = 'pending';

DO $$
DECLARE
  name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['webhooks', 'webhook_secrets', 'notification_settings', 'event_cursors', 'deliveries'] LOOP
    EXECUTE format('ALTER TABLE public.%I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE public.%I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY tenant ON public.%I TO agentguard_app
      USING (org_id = (SELECT NULLIF(current_setting(''app.org_id'', true), '''')))
      WITH CHECK (org_id = (SELECT NULLIF(current_setting(''app.org_id'', true), '''')))', name);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON public.%I TO agentguard_app', name);
  END LOOP;
END
$$;

-- The workers see of every organization that something is due, and nothing of what.
CREATE POLICY due ON event_cursors FOR SELECT TO agentguard_hot USING (true);
GRANT SELECT (org_id, next_index) ON event_cursors TO agentguard_hot;
CREATE POLICY due ON deliveries FOR SELECT TO agentguard_hot USING (true);
GRANT SELECT (org_id, destination_id, status, next_attempt_at) ON deliveries TO agentguard_hot;
