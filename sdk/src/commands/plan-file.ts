import type { PolicyDocument } from '../../../src/core/policy/compile.js'
import { RISK_LEVELS, type RiskLevel } from '../../../src/core/risk.js'
import { UsageError } from '../usage.js'
import { ENVIRONMENTS, type Environment } from './agents.js'
import { readSettings, type Settings } from './approval-settings.js'
import { readDocument } from './file.js'
import { readPolicy } from './policy-diff.js'

/** An agent as the file wants it. Without `policy`, its policy is not the file's business. */
export interface WantedAgent {
  readonly name: string
  readonly owner_team: string
  readonly environment: Environment
  /** Null: nobody has rated it. Absent: its rating is not the file's business. */
  readonly risk_level?: RiskLevel | null
  readonly policy?: PolicyDocument
}

/** A person as the file wants them; invited when there is nobody of this address. */
export interface WantedMember {
  readonly email: string
  readonly roles: readonly string[]
  /** Null: of the whole organization. */
  readonly team: string | null
}

/** `agentguard.yaml`, format 1. */
export interface PlanFile {
  readonly members: readonly WantedMember[]
  readonly agents: readonly WantedAgent[]
  /** Teams all of whose agents stand in the file: `--prune` deletes the others of these teams, and of no other. */
  readonly manages_teams: readonly string[]
  /** What of the organization's approval settings the file names. */
  readonly approval_settings?: Settings
}

const MEMBERS = ['version', 'agents', 'manages_teams', 'members', 'approval_settings']
const AGENT_MEMBERS = ['name', 'owner_team', 'environment', 'risk_level', 'policy']
const PERSON_MEMBERS = ['email', 'roles', 'team']

/** An agent's stable name within a file: what it is called, and who answers for it. */
export const identityOf = ({ name, owner_team }: { name: string; owner_team: string }): string =>
  `${owner_team}/${name}`

/** @throws UsageError with every mistake and its path; a member that is not known is one */
export async function readPlanFile(path: string): Promise<PlanFile> {
  const source = await readDocument(path)
  const mistakes: string[] = []
  const file = objectOf(source, '(file)', MEMBERS, mistakes)
  if (file.version !== 1) mistakes.push('version: must be 1')
  const others = file.members ?? file.approval_settings
  const listed = listOf(file.agents ?? (others === undefined ? undefined : []), 'agents', mistakes)
  const agents = listed.map((agent, i) => agentOf(agent, `agents[${i}]`, mistakes))
  const manages_teams = listOf(file.manages_teams ?? [], 'manages_teams', mistakes).map((team, i) =>
    textOf(team, `manages_teams[${i}]`, mistakes),
  )
  const members = listOf(file.members ?? [], 'members', mistakes).map((person, i) =>
    personOf(person, `members[${i}]`, mistakes),
  )
  const approval_settings =
    file.approval_settings === undefined
      ? undefined
      : readSettings(file.approval_settings, 'approval_settings', mistakes)
  once(agents.map(identityOf), 'agents', mistakes)
  once(
    members.map(({ email }) => email.toLowerCase()),
    'members',
    mistakes,
  )
  if (mistakes.length > 0) throw new UsageError(`${path}: ${mistakes.join('; ')}`)
  return { agents, manages_teams, members, ...(approval_settings && { approval_settings }) }
}

function once(names: readonly string[], path: string, mistakes: string[]): void {
  for (const [i, name] of names.entries())
    if (names.indexOf(name) !== i) mistakes.push(`${path}[${i}]: ${name} stands there twice`)
}

function personOf(source: unknown, path: string, mistakes: string[]): WantedMember {
  const person = objectOf(source, path, PERSON_MEMBERS, mistakes)
  const roles = listOf(person.roles, `${path}.roles`, mistakes)
  if (Array.isArray(person.roles) && roles.length === 0) mistakes.push(`${path}.roles: must name a role`)
  return {
    email: textOf(person.email, `${path}.email`, mistakes),
    roles: roles.map((role, i) => textOf(role, `${path}.roles[${i}]`, mistakes)),
    team:
      person.team === undefined || person.team === null
        ? null
        : textOf(person.team, `${path}.team`, mistakes),
  }
}

function agentOf(source: unknown, path: string, mistakes: string[]): WantedAgent {
  const agent = objectOf(source, path, AGENT_MEMBERS, mistakes)
  const environment = ENVIRONMENTS.find((name) => name === agent.environment)
  if (!environment) mistakes.push(`${path}.environment: must be one of ${ENVIRONMENTS.join(', ')}`)
  return {
    name: textOf(agent.name, `${path}.name`, mistakes),
    owner_team: textOf(agent.owner_team, `${path}.owner_team`, mistakes),
    environment: environment ?? 'dev',
    ...riskOf(agent.risk_level, `${path}.risk_level`, mistakes),
    ...(agent.policy !== undefined && { policy: policyOf(agent.policy, `${path}.policy`, mistakes) }),
  }
}

/** A level, or `unrated`, as the command line has it; null says the same. */
function riskOf(source: unknown, path: string, mistakes: string[]): Pick<WantedAgent, 'risk_level'> {
  if (source === undefined) return {}
  if (source === null || source === 'unrated') return { risk_level: null }
  const risk_level = RISK_LEVELS.find((level) => level === source)
  if (!risk_level) mistakes.push(`${path}: must be one of ${RISK_LEVELS.join(', ')}, or unrated`)
  return risk_level ? { risk_level } : {}
}

function policyOf(source: unknown, path: string, mistakes: string[]): PolicyDocument {
  try {
    return readPolicy(source, path)
  } catch (error) {
    if (!(error instanceof UsageError)) throw error
    mistakes.push(error.message)
    return { allow: [], deny: [], require_approval: [] }
  }
}

function objectOf(
  source: unknown,
  path: string,
  members: readonly string[],
  mistakes: string[],
): Readonly<Record<string, unknown>> {
  if (typeof source !== 'object' || source === null || Array.isArray(source)) {
    mistakes.push(`${path}: must be a mapping with ${members.join(', ')}`)
    return {}
  }
  for (const name of Object.keys(source))
    if (!members.includes(name))
      mistakes.push(`${path}: ${name} is not known; there are ${members.join(', ')}`)
  return { ...source }
}

function listOf(source: unknown, path: string, mistakes: string[]): readonly unknown[] {
  if (Array.isArray(source)) return source
  mistakes.push(`${path}: must be a list`)
  return []
}

function textOf(source: unknown, path: string, mistakes: string[]): string {
  // The service takes no spaces at the ends: another name there would be made anew by every apply.
  if (typeof source === 'string' && source !== '' && source.trim() === source) return source
  mistakes.push(`${path}: must be text without spaces at its ends`)
  return ''
}
