import type { Settings } from '../../src/platform/config/settings'
import { rateLimits } from '../../src/platform/throttling/limits'

/** Settings of a test: nothing from the environment, no limits, no log lines unless asked for. */
export function testSettings(overrides: Partial<Settings> = {}): Settings {
  return {
    node_env: 'test',
    host: '127.0.0.1',
    port: 0,
    database_url: undefined,
    database_pool_size: 5,
    database_max_overflow: 0,
    database_pool_timeout_s: 5,
    database_pool_recycle_s: 3600,
    migrate_on_start: false,
    data_dir: '.data',
    admin_api_key: 'root-key-of-the-tests-0123456789abcdef',
    admin_api_key_source: { kind: 'environment', variable: 'ADMIN_API_KEY' },
    ledger_kek: Uint8Array.from({ length: 32 }, (_, index) => index * 7),
    ledger_kek_source: { kind: 'environment', variable: 'LEDGER_KEK' },
    ledger_kek_previous: [],
    ledger_origin: undefined,
    ledger_signer_dir: undefined,
    ledger_public_proofs: false,
    cors_origins: ['http://localhost:3000'],
    log_level: 'silent',
    log_format: 'json',
    rate_limit_enabled: false,
    rate_limits: rateLimits(),
    metrics_enabled: true,
    metrics_path: '/metrics',
    metrics_token: undefined,
    metrics_public: false,
    metrics_agent_labels: false,
    request_timeout_s: 30,
    enforce_lane: true,
    max_request_size: 10_485_760,
    trust_proxy_headers: false,
    agent_id_prefix: 'agt_',
    api_key_prefix: 'agk_',
    ...overrides,
  }
}
