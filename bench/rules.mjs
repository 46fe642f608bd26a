// The same 51 rules for this product and for Cerbos: ten kinds of things, three allows, one deny and one that needs a
// person each (Cerbos has no such effect: a deny), and one allow that the measured request meets last.
const NOUNS = ['file', 'table', 'email', 'ticket', 'invoice', 'report', 'secret', 'branch', 'pod', 'queue']

export function policy() {
  const allow = NOUNS.flatMap((noun) => [
    { action: `read:${noun}`, resource: `s3://${noun}/*` },
    { action: `list:${noun}` },
    { action: `update:${noun}`, resource: `*/${noun}/public/*` },
  ])
  const deny = NOUNS.map((noun) => ({ action: `delete:${noun}`, resource: 's3://prod/*' }))
  const require_approval = NOUNS.map((noun) => ({ action: `send:${noun}` }))
  return { allow: [...allow, { action: 'read:file', resource: 'docs/*' }], deny, require_approval }
}

/**
 * `count` rules of which the measured request meets one, the last; a tenth are denies of the same verb. With `own` no
 * resource but that of the last is one of another agent's.
 */
export function policyOf(count, own = '') {
  const denies = Math.floor(count / 10)
  return {
    allow: [
      ...Array.from({ length: count - denies - 1 }, (_, i) => ({
        action: i % 2 ? `read:kind${i}` : 'read:file',
        resource: `s3://${own}bucket-${i}/*`,
      })),
      { action: 'read:file', resource: 'docs/*' },
    ],
    deny: Array.from({ length: denies }, (_, i) => ({
      action: 'read:file',
      resource: `${own}private-${i}/*`,
    })),
  }
}

export function* cerbosPolicies() {
  for (const noun of NOUNS) {
    const when = (expr) => ({ match: { expr } })
    const rules = [
      {
        actions: ['read'],
        effect: 'EFFECT_ALLOW',
        roles: ['agent'],
        condition: when(
          `R.id.startsWith("s3://${noun}/")${noun === 'file' ? ' || R.id.startsWith("docs/")' : ''}`,
        ),
      },
      { actions: ['list'], effect: 'EFFECT_ALLOW', roles: ['agent'] },
      {
        actions: ['update'],
        effect: 'EFFECT_ALLOW',
        roles: ['agent'],
        condition: when(`R.id.contains("/${noun}/public/")`),
      },
      {
        actions: ['delete'],
        effect: 'EFFECT_DENY',
        roles: ['agent'],
        condition: when('R.id.startsWith("s3://prod/")'),
      },
      { actions: ['send'], effect: 'EFFECT_DENY', roles: ['agent'] },
    ]
    const document = {
      apiVersion: 'api.cerbos.dev/v1',
      resourcePolicy: { version: 'default', resource: noun, rules },
    }
    yield [`${noun}.json`, JSON.stringify(document)]
  }
}

export const cerbosConfig = ({ data, http, grpc, audit }) => ({
  server: { httpListenAddr: `127.0.0.1:${http}`, grpcListenAddr: `127.0.0.1:${grpc}` },
  storage: { driver: 'disk', disk: { directory: `${data}/policies`, watchForChanges: false } },
  telemetry: { disabled: true },
  audit: audit
    ? {
        enabled: true,
        backend: 'file',
        accessLogsEnabled: false,
        decisionLogsEnabled: true,
        file: { path: `${data}/audit.log` },
      }
    : { enabled: false },
})
