import path from 'node:path'
import { parseAllowList } from '../outbound/allow-list.js'
import { parseRateLimits, parseWindows, rateLimits, type RateLimits } from '../throttling/limits.js'
import { EnvironmentReader, type Environment } from './environment.js'
import { ledgerKek, previousKeks, rootKey } from './secrets.js'
import { ConfigurationError, LOG_LEVELS, NODE_ENVS, type Settings } from './settings.js'
import { witnesses } from './witnesses.js'

const DAY_S = 86_400
const PREFIX = /^[a-z][a-z0-9]{1,9}_$/
const PREFIX_RULE = 'must be 2 to 10 lower-case letters or digits and an underscore, such as agt_'
/** Prefixes of other ids and secrets: an id and a secret never share one (design 2). */
const TAKEN_PREFIXES = ['org_', 'adm_', 'adk_', 'key_', 'mem_', 'inv_', 'ses_', 'ivt_', 'stp_', 'sst_']
const ORIGIN = /^[a-z0-9.-]+(:\d{1,5})?(\/[A-Za-z0-9._-]+)*$/
/** The words of Python's logging, which earlier deployments have in their files. */
const LOG_LEVEL_ALIASES = { warning: 'warn', critical: 'fatal' } as const

/**
 * Reads the settings from environment variables; makes missing secrets in development.
 * @throws ConfigurationError listing everything that is wrong.
 */
export function loadSettings(environment: Environment): Settings {
  const reader = new EnvironmentReader(environment)
  const node_env = reader.oneOf('NODE_ENV', 'development', NODE_ENVS)
  const production = node_env === 'production'
  const data_dir = reader.text('DATA_DIR') ?? '.data'
  const plain = {
    node_env,
    data_dir,
    ...network(reader, production),
    ...database(reader),
    ...metrics(reader),
    ...prefixes(reader),
    ...messages(reader, production),
    ...tokens(reader),
    log_level: reader.oneOf('LOG_LEVEL', 'info', LOG_LEVELS, LOG_LEVEL_ALIASES),
    log_format: reader.oneOf('LOG_FORMAT', 'json', ['json', 'text'] as const),
    rate_limit_enabled: reader.boolean('RATE_LIMIT_ENABLED', true),
    rate_limits: limits(reader),
    redis_url: redisUrl(reader),
    ledger_origin: origin(reader),
    ledger_signer_dir: signerDir(reader, production, data_dir),
    ledger_public_proofs: reader.boolean('LEDGER_PUBLIC_PROOFS', false),
    ...witnesses(reader),
    ...expiry(reader),
  }
  // Secrets last, and only made when all else is right: a failed start leaves no files behind.
  const settings = reader.problems.length > 0 && !production ? undefined : withSecrets(plain, reader)
  if (settings === undefined || reader.problems.length > 0) throw new ConfigurationError(reader.problems)
  return Object.freeze(settings)
}

type SecretFields =
  'admin_api_key' | 'admin_api_key_source' | 'ledger_kek' | 'ledger_kek_source' | 'ledger_kek_previous'

function withSecrets(plain: Omit<Settings, SecretFields>, reader: EnvironmentReader): Settings {
  const context = { reader, production: plain.node_env === 'production', data_dir: plain.data_dir }
  const [admin_api_key, admin_api_key_source] = rootKey(context)
  const [ledger_kek, ledger_kek_source] = ledgerKek(context)
  const ledger_kek_previous = previousKeks(context.reader)
  return {
    ...plain,
    admin_api_key,
    admin_api_key_source,
    ledger_kek,
    ledger_kek_source,
    ledger_kek_previous,
  }
}

function network(reader: EnvironmentReader, production: boolean) {
  return {
    host: reader.matching('HOST', '127.0.0.1', /^[A-Za-z0-9.:_-]+$/, 'must be an address or a host name'),
    workers: reader.integer('WEB_CONCURRENCY', 1, 1, 64),
    port: reader.integer('PORT', 8000, 0, 65_535),
    cors_origins: corsOrigins(reader, production),
    request_timeout_s: reader.integer('REQUEST_TIMEOUT', 30, 1, 3600),
    enforce_lane: reader.boolean('ENFORCE_LANE', true),
    max_request_size: reader.integer('MAX_REQUEST_SIZE', 10_485_760, 1024, 104_857_600),
    trust_proxy_headers: trustProxy(reader),
  }
}

function corsOrigins(reader: EnvironmentReader, production: boolean): readonly string[] {
  const origins = reader.list('CORS_ORIGINS', production ? [] : ['http://localhost:3000'])
  for (const candidate of origins) {
    if (candidate === '*' || isOrigin(candidate)) continue
    reader.refuse('CORS_ORIGINS', candidate, 'must be origins such as https://app.example.com, or *')
  }
  return origins
}

function isOrigin(text: string): boolean {
  return /^https?:$/.test(URL.parse(text)?.protocol ?? '') && URL.parse(text)?.origin === text
}

function trustProxy(reader: EnvironmentReader): Settings['trust_proxy_headers'] {
  const name = 'TRUST_PROXY_HEADERS'
  const text = reader.text(name)
  if (text === undefined) return false
  if (/^\d{1,2}$/.test(text)) return Number(text) === 0 ? false : Number(text)
  if (/^(true|yes|on)$/i.test(text)) return 1
  if (/^(false|no|off)$/i.test(text)) return false
  const proxies = reader.list(name, [])
  const isProxy = /^(loopback|linklocal|uniquelocal|[0-9.]+(\/\d{1,2})?|[0-9a-f:]+(\/\d{1,3})?)$/i
  if (proxies.every((proxy) => isProxy.test(proxy))) return proxies
  reader.refuse(name, text, 'must be true, false, a number of proxies, or their addresses')
  return false
}

function tokens(reader: EnvironmentReader) {
  // Read in any case; RFC 8037 and RFC 7518 write them so.
  const names = { eddsa: 'EdDSA', rs256: 'RS256' } as const
  return {
    jwt_algorithm: names[reader.oneOf('JWT_ALGORITHM', 'eddsa', ['eddsa', 'rs256'] as const)],
    jwt_agent_expire_s: reader.integer('JWT_AGENT_EXPIRE_SECONDS', 3600, 60, DAY_S),
    jwt_admin_expire_s: reader.integer('JWT_ADMIN_EXPIRE_SECONDS', 28_800, 60, DAY_S),
  }
}

function localLease(reader: EnvironmentReader): number {
  const lease_ms = reader.integer('LOCAL_LEASE_MS', 5_000, 0, 60_000)
  if (lease_ms > 0 && lease_ms < 1_000)
    reader.refuse('LOCAL_LEASE_MS', String(lease_ms), 'must be 0 (off) or a number from 1000 to 60000')
  return lease_ms
}

function database(reader: EnvironmentReader) {
  const database_url = reader.text('DATABASE_URL')
  // Not quoted: it usually holds a password.
  if (database_url !== undefined && !/^postgres(ql)?:$/.test(URL.parse(database_url)?.protocol ?? ''))
    reader.refuseSecret('DATABASE_URL', 'must look like postgresql://user:password@host:5432/agentguard')
  return {
    database_url,
    database_pool_size: reader.integer('DATABASE_POOL_SIZE', 20, 1, 1000),
    database_max_overflow: reader.integer('DATABASE_MAX_OVERFLOW', 10, 0, 1000),
    database_pool_timeout_s: reader.integer('DATABASE_POOL_TIMEOUT', 30, 1, 600),
    database_pool_recycle_s: reader.integer('DATABASE_POOL_RECYCLE', 3600, 1, 30 * DAY_S),
    snapshot_cache_agents: reader.integer('SNAPSHOT_CACHE_AGENTS', 10_000, 1, 1_000_000),
    local_lease_ms: localLease(reader),
    migrate_on_start: reader.boolean('MIGRATE_ON_START', true),
  }
}

function metrics(reader: EnvironmentReader) {
  const metrics_token = reader.text('METRICS_TOKEN')
  if (metrics_token !== undefined && !/^[\x21-\x7e]{16,}$/.test(metrics_token))
    reader.refuseSecret('METRICS_TOKEN', 'must be at least 16 visible ASCII characters')
  return {
    metrics_enabled: reader.boolean('METRICS_ENABLED', true),
    metrics_path: reader.matching(
      'METRICS_PATH',
      '/metrics',
      /^(\/[A-Za-z0-9._-]+)+$/,
      'must be a path such as /metrics',
    ),
    metrics_token,
    metrics_public: reader.boolean('METRICS_PUBLIC', false),
    metrics_agent_labels: reader.boolean('METRICS_AGENT_LABELS', false),
  }
}

function prefixes(reader: EnvironmentReader) {
  const agent_id_prefix = reader.matching('AGENT_ID_PREFIX', 'agt_', PREFIX, PREFIX_RULE)
  const api_key_prefix = reader.matching('API_KEY_PREFIX', 'agk_', PREFIX, PREFIX_RULE)
  if (TAKEN_PREFIXES.includes(agent_id_prefix))
    reader.refuse('AGENT_ID_PREFIX', agent_id_prefix, 'is the prefix of something else')
  if (TAKEN_PREFIXES.includes(api_key_prefix) || api_key_prefix === agent_id_prefix)
    reader.refuse('API_KEY_PREFIX', api_key_prefix, 'is the prefix of something else')
  return { agent_id_prefix, api_key_prefix }
}

function messages(reader: EnvironmentReader, production: boolean) {
  const public_url = reader.text('PUBLIC_URL')?.replace(/\/$/, '')
  if (public_url !== undefined && !/^https?:$/.test(URL.parse(public_url)?.protocol ?? ''))
    reader.refuse('PUBLIC_URL', public_url, 'must look like https://agentguard.example.com')
  const smtp_url = reader.text('SMTP_URL')
  // Not quoted: it usually holds a password.
  if (smtp_url !== undefined && !/^smtps?:$/.test(URL.parse(smtp_url)?.protocol ?? ''))
    reader.refuseSecret('SMTP_URL', 'must look like smtps://user:password@mail.example.com:465')
  const smtp_from = reader.text('SMTP_FROM')
  if (smtp_url !== undefined && smtp_from === undefined)
    reader.problems.push(
      'SMTP_FROM is required with SMTP_URL, for example AgentGuard <agentguard@example.com>',
    )
  if (smtp_from !== undefined && !/^[^\r\n<>]*<?[^\s@<>]+@[^\s@<>]+>?$/.test(smtp_from))
    reader.refuse('SMTP_FROM', smtp_from, 'must be an address such as AgentGuard <agentguard@example.com>')
  const webhook_url = reader.text('WEBHOOK_URL')
  // Not quoted either: who knows the URL of an incoming webhook can use it.
  if (webhook_url !== undefined && !/^https?:$/.test(URL.parse(webhook_url)?.protocol ?? ''))
    reader.refuseSecret('WEBHOOK_URL', 'must look like https://hooks.example.com/agentguard')
  const webhook_secret = reader.text('WEBHOOK_SECRET')
  const outbound_allow = reader.list('OUTBOUND_ALLOW', [])
  for (const wrong of parseAllowList(outbound_allow).wrong)
    reader.refuse('OUTBOUND_ALLOW', wrong, 'must be a network such as 10.0.0.0/8, an address or a host name')
  const local = production ? undefined : `http://localhost:${reader.text('PORT') ?? '8000'}`
  const mail = { smtp_url, smtp_from }
  return { public_url: public_url ?? local, ...mail, webhook_url, webhook_secret, outbound_allow }
}

function expiry(reader: EnvironmentReader) {
  const ledger_expiry = reader.oneOf('LEDGER_EXPIRY', 'off', ['off', 'archive', 'drop'] as const)
  const ledger_archive_dir = reader.text('LEDGER_ARCHIVE_DIR')
  if (ledger_expiry === 'archive' && ledger_archive_dir === undefined)
    reader.problems.push(
      'LEDGER_ARCHIVE_DIR is required with LEDGER_EXPIRY=archive: a folder that is backed up',
    )
  return { ledger_expiry, ledger_archive_dir }
}

function limits(reader: EnvironmentReader): RateLimits {
  const fallback = reader.text('RATE_LIMIT_DEFAULT')
  const windows = fallback === undefined ? undefined : parseWindows('default', fallback)
  if (windows === null)
    reader.refuse('RATE_LIMIT_DEFAULT', fallback ?? '', 'must look like 100/minute;1000/hour')
  const overrides = parseRateLimits(reader.text('RATE_LIMITS') ?? '')
  if (typeof overrides === 'string') {
    reader.problems.push(`RATE_LIMITS: ${overrides}`)
    return rateLimits()
  }
  return rateLimits({ ...(windows ? { default: windows } : {}), ...overrides })
}

function redisUrl(reader: EnvironmentReader): string | undefined {
  const url = reader.text('REDIS_URL')
  // Not quoted: it usually holds a password.
  if (url !== undefined && !/^rediss?:$/.test(URL.parse(url)?.protocol ?? ''))
    reader.refuseSecret('REDIS_URL', 'must look like redis://:password@host:6379/0 or rediss://…')
  return url
}

function signerDir(reader: EnvironmentReader, production: boolean, data_dir: string): string | undefined {
  const embedded = reader.text('DATABASE_URL') === undefined
  return (
    reader.text('LEDGER_SIGNER_DIR') ?? (embedded && !production ? path.join(data_dir, 'signer') : undefined)
  )
}

function origin(reader: EnvironmentReader): string | undefined {
  const text = reader.text('LEDGER_ORIGIN')
  if (text === undefined || ORIGIN.test(text)) return text
  reader.refuse('LEDGER_ORIGIN', text, 'must be a name without scheme, such as logs.example.com/agentguard')
  return undefined
}
