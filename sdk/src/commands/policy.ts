import { canonicalDocument, compilePolicy } from '../../../src/core/policy/compile.js'
import { decide, type Decision, factsNeeded } from '../../../src/core/policy/decide.js'
import { readRequest } from '../../../src/core/policy/request.js'
import { type AgentFacts, STATUS } from '../../../src/core/policy/stage.js'
import { isZone, zoneOffset } from '../../../src/platform/clock/zones.js'
import { NotFoundError } from '../errors.js'
import type { PolicyDocument } from '../generated/openapi.js'
import { UsageError } from '../usage.js'
import { type Command, EXIT, type Given } from './command.js'
import type { Connection } from './connection.js'
import { exitCodeOf } from './enforce.js'
import { readDocument } from './file.js'
import { clean, colored, note, print, printJson, printList } from './output.js'
import { changeLine, diffPolicies, readPolicy, type RuleChange } from './policy-diff.js'

const FILE = { value: 'file|-', short: 'f', summary: 'JSON or YAML; - is standard input' } as const
const IF_VERSION = { value: 'n', summary: 'only if this is the present version' } as const
const MAX_VERSION = 2_147_483_647

const ifMatch = (given: Given) => {
  const version = given.number('if-version', { min: 1, max: MAX_VERSION })
  return version === undefined ? {} : { headers: { 'If-Match': `"${version}"` } }
}

/** The present policy; null when the agent has none. */
export async function presentPolicy({ client }: Connection, agent_id: string) {
  try {
    return await client.policies.get(agent_id)
  } catch (error) {
    if (error instanceof NotFoundError && error.code === 'policy_not_found') return null
    throw error
  }
}

/** Only what a person writes: a policy that was got can be set again. */
export const documentOf = ({ allow, deny, require_approval, require_online = [] }: PolicyDocument) =>
  canonicalDocument({ allow, deny, require_approval, require_online })

export function printChanges(changes: readonly RuleChange[], indent = ''): void {
  for (const change of changes)
    print(colored(indent + clean(changeLine(change)), change.change === 'add' ? 32 : 31))
}

export const policyCommands: readonly Command[] = [
  {
    name: 'policy get',
    summary: 'the present policy, or one version of it, as a document that can be set again',
    arguments: '<agent_id>',
    options: { version: { value: 'n', summary: 'an earlier one' } },
    details: 'With --json also its version, id and digest.',
    async run(given) {
      const { client } = given.connect()
      const version = given.number('version', { min: 1, max: MAX_VERSION })
      const policy = await (version === undefined
        ? client.policies.get(given.argument(0))
        : client.policies.getVersion(given.argument(0), version))
      printJson(given.json ? policy : documentOf(policy))
      return EXIT.ok
    },
  },
  {
    name: 'policy set',
    summary: 'replaces the policy as a whole',
    arguments: '<agent_id> <file|->',
    options: { 'if-version': IF_VERSION },
    async run(given) {
      const source = await readDocument(given.argument(1))
      readPolicy(source, given.argument(1))
      const policy = await given
        .connect()
        .client.policies.put(given.argument(0), source as PolicyDocument, ifMatch(given))
      if (given.json) printJson(policy)
      else note(`The policy of ${clean(given.argument(0))} is version ${policy.version}.`)
      return EXIT.ok
    },
  },
  {
    name: 'policy diff',
    summary: 'what setting a file would change',
    arguments: '<agent_id> <file|->',
    options: { 'exit-code': { summary: 'end with 2 when there is a difference' } },
    async run(given) {
      const wanted = readPolicy(await readDocument(given.argument(1)), given.argument(1))
      const present = await presentPolicy(given.connect(), given.argument(0))
      const changes = diffPolicies(present && readPolicy(documentOf(present), 'The present policy'), wanted)
      if (given.json) printJson({ version: present?.version ?? null, changes })
      else if (changes.length === 0) note('No difference.')
      else printChanges(changes)
      return changes.length > 0 && given.flag('exit-code') ? EXIT.denied : EXIT.ok
    },
  },
  {
    name: 'policy test',
    summary: 'what a policy would decide, without asking for a decision: nothing is recorded',
    arguments: '<agent_id> <action> [resource]',
    options: {
      file: FILE,
      at: { value: 'time', summary: 'as if it were then; default: now' },
      arguments: { value: 'json', summary: 'what the call would carry, for conditions on the request' },
      context: { value: 'json', summary: 'the same of its context' },
    },
    details:
      "Decides on this machine with the service's own code, from the agent's own policy or --file alone: policies of its team and organization and kill switches are not asked. Also says which rules for the action did not apply, and why. Exit codes as of enforce.",
    run: testPolicy,
  },
  {
    name: 'policy versions',
    summary: 'its versions, newest first',
    arguments: '<agent_id>',
    async run(given) {
      const versions = await given
        .connect()
        .client.policies.listVersions(given.argument(0), { limit: 100 })
        .toArray()
      printList(
        versions,
        [
          ['VERSION', (version) => version.version],
          ['ALLOW', (version) => version.rules.allow],
          ['DENY', (version) => version.rules.deny],
          ['APPROVAL', (version) => version.rules.require_approval],
          ['ROLLBACK OF', (version) => version.rollback_of],
          ['CREATED', (version) => version.created_at],
          ['BY', (version) => version.created_by],
        ],
        given.json,
        'The agent has no policy.',
      )
      return EXIT.ok
    },
  },
  {
    name: 'policy rollback',
    summary: 'makes an earlier version the present one, as a new version',
    arguments: '<agent_id> <version>',
    options: { 'if-version': IF_VERSION },
    async run(given) {
      const text = given.argument(1)
      if (!/^[1-9]\d{0,9}$/.test(text)) throw given.mistake('<version> is a number from 1.')
      const body = { version: Number(text) }
      const policy = await given.connect().client.policies.rollback(given.argument(0), body, ifMatch(given))
      if (given.json) printJson(policy)
      else
        note(
          `The policy of ${clean(given.argument(0))} is version ${policy.version}, with the rules of version ${text}.`,
        )
      return EXIT.ok
    },
  },
]

async function testPolicy(given: Given): Promise<number> {
  const [agent_id, action, resource] = [given.argument(0), given.argument(1), given.optional(2)]
  const at = given.text('at')
  const now = at === undefined ? Date.now() : Date.parse(at)
  if (!Number.isFinite(now)) throw given.mistake('--at is a time such as 2026-11-21T08:00:00Z.')
  const request = readRequest({
    action,
    resource,
    arguments: given.object('arguments'),
    context: given.object('context'),
  })
  if (!request.ok)
    throw new UsageError(request.errors.map(({ path, message }) => `${path}: ${message}`).join('; '))
  const connection = given.connect()
  const file = given.text('file')
  const [{ environment, owner_team }, present] = await Promise.all([
    connection.client.agents.get(agent_id),
    file === undefined ? presentPolicy(connection, agent_id) : null,
  ])
  const source = file === undefined ? present && documentOf(present) : await readDocument(file)
  if (source !== null) readPolicy(source, file ?? 'The present policy')
  const compiled = source === null ? null : compilePolicy(source, { isZone })
  const id = present?.policy_id ?? 'file'
  const version = present?.version ?? 0
  const policies = compiled?.ok
    ? [{ scope: 'agent' as const, id, version, sha256: present?.sha256 ?? '', compiled: compiled.value }]
    : []
  const agent = { agent_id, environment, team: owner_team } as AgentFacts
  const tz = Object.fromEntries(
    factsNeeded(policies, request.value, agent).map(({ zone }) => [zone, zoneOffset(zone, now)]),
  )
  const facts = { kill: [], rules: { tz } }
  const decision = decide(policies, request.value, agent, now, facts, { explain: true })
  printTest(given, decision, file ?? "the agent's own policy")
  return exitCodeOf(STATUS[decision.effect])
}

function printTest(given: Given, decision: Decision, decided_from: string): void {
  const { effect, code, reason, matched_rule } = decision
  const near_misses = (decision.near_misses ?? []).map(({ policy: _, ...miss }) => miss)
  const status = STATUS[effect]
  if (given.json) {
    printJson({ status, code, reason, matched_rule, near_misses, recorded: false, decided_from })
    return
  }
  print(clean(`${status}: ${reason}`))
  for (const { rule, action, resource, missed } of near_misses)
    print(clean(`not ${rule}, ${action} on ${resource ?? '*'}: ${missed.join(', ')}`))
  note(`Decided here, from ${clean(decided_from)} alone. Nothing was recorded.`)
}
