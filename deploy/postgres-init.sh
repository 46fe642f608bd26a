#!/bin/bash
# Runs once, in the official postgres image, when its data folder is empty.
# AgentGuard refuses to run as a superuser: superusers pass row-level security. It owns its database and may create
# the roles of prisma/roles.sql, nothing more.
set -euo pipefail

psql --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres \
  --set password="$AGENTGUARD_DB_PASSWORD" <<'SQL'
CREATE ROLE agentguard LOGIN NOSUPERUSER NOCREATEDB CREATEROLE NOBYPASSRLS PASSWORD :'password';
CREATE DATABASE agentguard OWNER agentguard ENCODING 'UTF8' TEMPLATE template0;
SQL
