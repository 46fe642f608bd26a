# AgentGuard. Needs Node.js 20.19 or newer and npm; no Docker, no PostgreSQL.
#   PORT      port of the API (8000)
#   DATA_DIR  embedded database and generated secrets (.data)
.DEFAULT_GOAL := help
.PHONY: up down restart ps logs migrate migration shell-db build test format lint demo clean help

up: ## Install, build and start AgentGuard in the background; wait until it answers
	@node scripts/up.mjs

down: ## Stop it; the data stay
	@node scripts/down.mjs

restart: ## Stop it and start it again with the present code
	@node scripts/down.mjs
	@node scripts/up.mjs

ps: ## Show what runs
	@node scripts/ps.mjs

logs: ## Follow the log (Ctrl-C ends)
	@tail -n 100 -F $(or $(DATA_DIR),.data)/api.log

migrate: ## Apply pending migrations to DATABASE_URL, or to the embedded database
	@node scripts/migrate.mjs

migration: ## Write the migration for a changed schema.prisma: make migration MSG="add agent labels"
	@node scripts/migration.mjs

shell-db: ## Open psql on the database, as superuser
	@node scripts/shell-db.mjs

build: ## Build dist and the dashboard
	@node scripts/build.mjs

test: ## Run every check and all tests
	@node scripts/install.mjs
	npm test -- --json --outputFile=dist/test-results.json

format: ## Format all files
	@node scripts/install.mjs
	npm run format

lint: ## Check code style and import rules
	@node scripts/install.mjs
	npm run lint

demo: ## Run the quickstart against the running service and print each answer
	@node scripts/install.mjs
	npm run --silent demo

clean: ## Remove build output; with CONFIRM=1 also all data
	@node scripts/clean.mjs

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
