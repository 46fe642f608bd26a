import { RISK_LEVELS, type RiskLevel } from '../../../src/core/risk.js'
import type { Command, Given, Options } from './command.js'
import { EXIT } from './command.js'
import { type Column, note, printJson, printList, printThing } from './output.js'

export const ENVIRONMENTS = ['dev', 'stage', 'prod'] as const
export type Environment = (typeof ENVIRONMENTS)[number]

const MEMBERS: Options = {
  name: { value: 'name', summary: 'what people call it' },
  team: { value: 'name', summary: 'the team that answers for it' },
  env: { value: 'environment', choices: ENVIRONMENTS, summary: `one of ${ENVIRONMENTS.join(', ')}` },
}

const RISK = { value: 'level', choices: RISK_LEVELS, summary: `one of ${RISK_LEVELS.join(', ')}` }
/** For who has rated an agent wrongly, and for finding those that nobody has rated. */
const RISK_OR_NONE = {
  ...RISK,
  choices: [...RISK_LEVELS, 'unrated'],
  summary: `one of ${RISK_LEVELS.join(', ')}, or unrated`,
}

interface AgentRow {
  readonly agent_id: string
  readonly name: string
  readonly owner_team: string
  readonly environment: string
  readonly risk_level: string | null
  readonly is_active: boolean
}

const COLUMNS: readonly Column<AgentRow>[] = [
  ['AGENT', (agent) => agent.agent_id],
  ['NAME', (agent) => agent.name],
  ['TEAM', (agent) => agent.owner_team],
  ['ENV', (agent) => agent.environment],
  ['RISK', (agent) => agent.risk_level],
  ['ACTIVE', (agent) => agent.is_active],
]

const riskOf = (given: Given) => given.text('risk') as RiskLevel | 'unrated' | undefined
const environmentOf = (given: Given): Environment | undefined => given.text('env') as Environment | undefined

const riskChange = (risk: RiskLevel | 'unrated' | undefined) =>
  risk === undefined ? {} : { risk_level: risk === 'unrated' ? null : risk }

/** Says once that a secret was made: it stands in the output, and nowhere else ever again. */
export function noteSecret(): void {
  note('The key is shown this once and is kept nowhere: put it where the agent reads AGENTGUARD_AGENT_KEY.')
}

export const agentCommands: readonly Command[] = [
  {
    name: 'agents list',
    summary: 'the agents, oldest first',
    options: { ...MEMBERS, risk: RISK_OR_NONE, all: { summary: 'inactive ones too' } },
    async run(given) {
      const agents = await given
        .connect()
        .client.agents.list({
          limit: 100,
          ...(given.text('name') !== undefined && { name: given.required('name') }),
          ...(given.text('team') !== undefined && { owner_team: given.required('team') }),
          ...(environmentOf(given) && { environment: environmentOf(given) }),
          ...(riskOf(given) && { risk_level: riskOf(given) }),
          ...(given.flag('all') && { include_inactive: true }),
        })
        .toArray()
      printList(agents, COLUMNS, given.json, 'There are no such agents.')
      return EXIT.ok
    },
  },
  {
    name: 'agents get',
    summary: 'one agent',
    arguments: '<agent_id>',
    async run(given) {
      printThing(await given.connect().client.agents.get(given.argument(0)), given.json)
      return EXIT.ok
    },
  },
  {
    name: 'agents create',
    summary: 'a new agent and its first key, which is shown this once',
    arguments: '<name>',
    options: { team: MEMBERS.team, env: MEMBERS.env, risk: RISK } as Options,
    async run(given) {
      const made = await given.connect().client.agents.create({
        name: given.argument(0),
        owner_team: given.required('team'),
        environment: environmentOf(given) ?? 'dev',
        ...riskChange(riskOf(given)),
      })
      printThing(made, given.json)
      noteSecret()
      return EXIT.ok
    },
  },
  {
    name: 'agents update',
    summary: 'changes what is given; the rest stays',
    arguments: '<agent_id>',
    options: {
      ...MEMBERS,
      risk: RISK_OR_NONE,
      active: {
        value: 'yes|no',
        choices: ['yes', 'no'],
        summary: 'no stops the agent: its keys do not authenticate',
      },
    },
    async run(given) {
      const changes = {
        ...(given.text('name') !== undefined && { name: given.required('name') }),
        ...(given.text('team') !== undefined && { owner_team: given.required('team') }),
        ...(environmentOf(given) && { environment: environmentOf(given) }),
        ...riskChange(riskOf(given)),
        ...(given.text('active') !== undefined && { is_active: given.text('active') === 'yes' }),
      }
      if (Object.keys(changes).length === 0) throw given.mistake('There is nothing to change.')
      printThing(await given.connect().client.agents.update(given.argument(0), changes), given.json)
      return EXIT.ok
    },
  },
  {
    name: 'agents delete',
    summary: 'makes it inactive and revokes its keys for good; its log stays',
    arguments: '<agent_id>',
    async run(given) {
      const agent_id = given.argument(0)
      await given.connect().client.agents.delete(agent_id)
      if (given.json) printJson({ agent_id, deleted: true })
      else note(`${agent_id} is inactive, and its keys are revoked.`)
      return EXIT.ok
    },
  },
]
