import type { RateLimits } from '../throttling/limits.js'

export const NODE_ENVS = ['development', 'test', 'production'] as const
export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const

export type LogLevel = (typeof LOG_LEVELS)[number]

/** Where a secret came from, for the start-up line: never the secret itself. */
export type SecretSource = { kind: 'environment'; variable: string } | { kind: 'file'; path: string }

/**
 * Everything that can be set from outside, read and checked once at start (`loadSettings`). Each field is the
 * environment variable of the same name in capitals, with its unit added where it has one. Injected as it is:
 * `constructor(private readonly settings: Settings)`.
 */
export class Settings {
  /** `NODE_ENV`: production refuses weak secrets. Default development. */
  readonly node_env: (typeof NODE_ENVS)[number]
  /** `HOST`: address to listen on. Default 127.0.0.1, because a first start should not face a network. */
  readonly host: string
  /**
   * `WEB_CONCURRENCY`, or `--workers`: processes that answer on the one port; more than one are supervised by a process
   * of their own. Default 1.
   */
  readonly workers: number
  /** `PORT`: default 8000; 0 takes a free one. */
  readonly port: number

  /** `DATABASE_URL`: without it the service starts its own PostgreSQL in `DATA_DIR`. */
  readonly database_url: string | undefined
  /** `DATABASE_POOL_SIZE`: connections of the control plane kept open. Default 20. */
  readonly database_pool_size: number
  /** `DATABASE_MAX_OVERFLOW`: connections beyond the pool under load. Default 10. */
  readonly database_max_overflow: number
  /** `DATABASE_POOL_TIMEOUT`: seconds to wait for a connection. Default 30. */
  readonly database_pool_timeout_s: number
  /** `DATABASE_POOL_RECYCLE`: seconds after which a connection is replaced. Default 3600. */
  readonly database_pool_recycle_s: number
  /**
   * `SNAPSHOT_CACHE_AGENTS`: agent keys whose identity and policies the decision path keeps in memory, from 1. Who is
   * not among them costs a query. Default 10000.
   */
  readonly snapshot_cache_agents: number
  /**
   * `LOCAL_LEASE_MS`: how long an agent may decide by itself from one bundle, and so how much later than online a no
   * can reach it; 1000 to 60000, or 0: agents may not decide by themselves. Default 5000.
   */
  readonly local_lease_ms: number
  /** `MIGRATE_ON_START`: apply pending migrations before listening. Default true. */
  readonly migrate_on_start: boolean
  /** `DATA_DIR`: embedded database and generated secrets. Default `.data`. */
  readonly data_dir: string

  /** `ADMIN_API_KEY`: the root key. In development generated into `<DATA_DIR>/admin-key` when absent. */
  readonly admin_api_key: string
  readonly admin_api_key_source: SecretSource
  /** `LEDGER_KEK`: 32 bytes in base64 that wrap the payload data keys; generated like the root key. */
  readonly ledger_kek: Uint8Array
  readonly ledger_kek_source: SecretSource
  /** Keys before `ledger_kek`: they still open what they sealed. */
  readonly ledger_kek_previous: readonly Uint8Array[]
  /** What happens to entries at the end of their retention: nothing, archived and removed, or removed. */
  readonly ledger_expiry: 'off' | 'archive' | 'drop'
  /** Folder for the bundles of expired entries; required with `archive`. */
  readonly ledger_archive_dir: string | undefined
  /** `LEDGER_ORIGIN`: schema-less name that begins every log's origin; fixed per organization when it is made. */
  readonly ledger_origin: string | undefined
  /**
   * `LEDGER_SIGNER_DIR`: folder of the signing key and of what it has signed; keep it apart from the database and its
   * backups. Only a process that has it signs checkpoints. Default `<DATA_DIR>/signer` in development with the
   * embedded database; otherwise nothing is signed here.
   */
  readonly ledger_signer_dir: string | undefined
  /** `LEDGER_PUBLIC_PROOFS`: checkpoints and hash tiles need no credentials (entries always do). Default false. */
  readonly ledger_public_proofs: boolean

  /**
   * `LEDGER_WITNESSES`: who cosigns checkpoints before they are published (C2SP tlog-witness), as a comma list of
   * `<URL> <verifier key>`. Default none.
   */
  readonly ledger_witnesses: readonly WitnessAddress[]
  /** `LEDGER_WITNESS_QUORUM`: without so many cosignatures no checkpoint is published. Default 0: with any or none. */
  readonly ledger_witness_quorum: number
  /** `LEDGER_WITNESS_TIMEOUT_MS`: how long a checkpoint waits for its witnesses, at most. Default 1000. */
  readonly ledger_witness_timeout_ms: number

  /** `CORS_ORIGINS`: comma list of origins, or `*`. Default: the dashboard's development server, none in production. */
  readonly cors_origins: readonly string[]
  /** `LOG_LEVEL`: default info. */
  readonly log_level: LogLevel
  /** `LOG_FORMAT`: `json` (default) or `text`. */
  readonly log_format: 'json' | 'text'

  /** `JWT_ALGORITHM`: how tokens are signed that ask for nothing else, `EdDSA` (default) or `RS256`. */
  readonly jwt_algorithm: 'EdDSA' | 'RS256'
  /** `JWT_AGENT_EXPIRE_SECONDS`: how long an agent's token lives, 60 s to a day. Default 3600. */
  readonly jwt_agent_expire_s: number
  /** `JWT_ADMIN_EXPIRE_SECONDS`: how long an administrator's token lives, 60 s to a day. Default 28800. */
  readonly jwt_admin_expire_s: number

  /** `RATE_LIMIT_ENABLED`: default true. */
  readonly rate_limit_enabled: boolean
  /**
   * `RATE_LIMIT_DEFAULT` (`100/minute;1000/hour`) for routes without a class, and `RATE_LIMITS` for any class:
   * `enforce=100000/60, admin_read=1000/hour`. Windows are `<count>/<seconds|second|minute|hour|day>`.
   * Classes and defaults stand in `throttling/limits.ts`.
   */
  readonly rate_limits: RateLimits

  /**
   * `REDIS_URL`: Redis or Valkey through which replicas share their limits, `redis://` or `rediss://`. Without it each
   * replica keeps them alone. Nothing else depends on it.
   */
  readonly redis_url: string | undefined

  /** `METRICS_ENABLED`: default true; otherwise the path is a 404. */
  readonly metrics_enabled: boolean
  /** `METRICS_PATH`: default `/metrics`. */
  readonly metrics_path: string
  /** `METRICS_TOKEN`: a bearer token for the scraper, at least 16 characters. */
  readonly metrics_token: string | undefined
  /** `METRICS_PUBLIC`: no credentials needed. Default false. */
  readonly metrics_public: boolean
  /** `METRICS_AGENT_LABELS`: fill the `agent_id` label; costs a series an agent. Default false. */
  readonly metrics_agent_labels: boolean

  /** `REQUEST_TIMEOUT`: seconds for a request to arrive, and for its answer to begin. Default 30. */
  readonly request_timeout_s: number
  /** `ENFORCE_LANE`: answer ordinary `POST /enforce` in front of Express (design 5). Default on. */
  readonly enforce_lane: boolean
  /** `MAX_REQUEST_SIZE`: bytes of the largest body, on the routes that take more than 1 MB. Default 10485760. */
  readonly max_request_size: number
  /**
   * `TRUST_PROXY_HEADERS`: whether `X-Forwarded-*` is believed. `false` (default), `true` for one proxy in front,
   * a number of proxies, or a comma list of their addresses and networks.
   */
  readonly trust_proxy_headers: false | number | readonly string[]

  /**
   * `PUBLIC_URL`: where people reach this service, such as `https://agentguard.example.com`; links in messages begin
   * with it. Default `http://localhost:<PORT>` in development; without it in production, messages carry no links.
   */
  readonly public_url: string | undefined
  /** `SMTP_URL`: `smtps://user:password@host:465` or `smtp://host:587`. Without it no e-mail is sent. */
  readonly smtp_url: string | undefined
  /** `SMTP_FROM`: the sender, `AgentGuard <agentguard@example.com>`. Required with `SMTP_URL`. */
  readonly smtp_from: string | undefined
  /** `WEBHOOK_URL`: who is told of approvals in the default organization (row AG-84). A secret, as Slack's are. */
  readonly webhook_url: string | undefined
  /** `WEBHOOK_SECRET`: signs what goes to `WEBHOOK_URL`; without it, it is not signed. */
  readonly webhook_secret: string | undefined
  /**
   * `OUTBOUND_ALLOW`: comma list of networks (`10.0.0.0/8`), addresses and host names (`hooks.internal`) of one's own
   * that webhooks may reach, although they are private. Also lifts the rule of https and of ordinary ports for them.
   */
  readonly outbound_allow: readonly string[]

  /** `AGENT_ID_PREFIX`: default `agt_`. */
  readonly agent_id_prefix: string
  /** `API_KEY_PREFIX`: of agents' keys. Default `agk_`. */
  readonly api_key_prefix: string
}

/** A witness and where it listens: `<url>/add-checkpoint`. */
export interface WitnessAddress {
  readonly url: string
  readonly vkey: string
}

/** The configuration cannot be used: every reason at once, each naming its variable and the remedy. */
export class ConfigurationError extends Error {
  constructor(readonly problems: readonly string[]) {
    super(`The configuration cannot be used:\n${problems.map((problem) => `  - ${problem}`).join('\n')}`)
    this.name = 'ConfigurationError'
  }
}
