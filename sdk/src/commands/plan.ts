import type { RiskLevel } from '../../../src/core/risk.js'
import {
  type SettingsDone,
  type SettingsStep,
  settingsLines,
  settingsSteps,
  takeSettings,
} from './approval-settings.js'
import { type Command, EXIT, type Given, type Options } from './command.js'
import type { Connection } from './connection.js'
import { confirm } from './login.js'
import { clean, colored, note, print, printJson } from './output.js'
import { readPlanFile, type WantedAgent } from './plan-file.js'
import { peopleSteps, type PersonDone, type PersonStep, placeText, takePerson } from './plan-members.js'
import { type Done, type Step, stepsTo, take } from './plan-steps.js'
import { printChanges } from './policy.js'

const COMMON: Options = {
  file: { value: 'file|-', short: 'f', summary: 'JSON or YAML; - is standard input (required)' },
  prune: { summary: 'also delete agents that the file has not, of the teams under manages_teams' },
  'replace-inactive': { summary: 'make an agent anew where one of its name was stopped or deleted' },
}

export const planCommands: readonly Command[] = [
  {
    name: 'plan',
    summary: 'what apply would change',
    options: { ...COMMON, 'exit-code': { summary: 'end with 2 when there is something to change' } },
    async run(given) {
      const steps = await stepsFor(given)
      if (given.json) printJson({ changes: steps })
      else show(steps)
      return steps.length > 0 && given.flag('exit-code') ? EXIT.denied : EXIT.ok
    },
  },
  {
    name: 'apply',
    summary:
      'makes agents, policies, people and approval settings as a file says; doing it again changes nothing',
    options: {
      ...COMMON,
      'dry-run': { summary: 'only show what would change' },
      yes: { short: 'y', summary: 'do not ask first' },
    },
    details:
      'Shows the changes and asks. Agents are matched by name and owner_team; one that is new gets a key, which is shown this once. People are matched by email; who is new is invited. What the file does not name stays as it is.',
    run: apply,
  },
]

type AnyStep = Step | PersonStep | SettingsStep
type AnyDone = Done | PersonDone | SettingsDone

async function stepsFor(given: Given): Promise<AnyStep[]> {
  const file = await readPlanFile(given.required('file'))
  const connection = given.connect()
  const steps = await stepsTo(file, connection, {
    prune: given.flag('prune'),
    replaceInactive: given.flag('replace-inactive'),
  })
  // First, so that what is made after it is asked for as the file says.
  const settings = await settingsSteps(file.approval_settings, connection)
  return [...settings, ...steps, ...(await peopleSteps(file.members, connection))]
}

async function apply(given: Given): Promise<number> {
  const steps = await stepsFor(given)
  const dry = given.flag('dry-run')
  if (!given.json) show(steps)
  if (dry || steps.length === 0) {
    if (given.json) printJson(dry ? { changes: steps } : { applied: [], remaining: 0 })
    return EXIT.ok
  }
  if (!given.flag('yes')) {
    if (given.json || !process.stdin.isTTY)
      throw given.mistake('There is nobody to ask: give --yes, or --dry-run.')
    if (!(await confirm('Make these changes?'))) {
      note('Nothing was changed.')
      return EXIT.error
    }
  }
  const connection = given.connect()
  const made = new Map<string, string>()
  const applied: AnyDone[] = []
  try {
    for (const step of steps) {
      const done = await taken(step, connection, made)
      applied.push(done)
      // At once: a key that a later failure took along would be lost.
      if (!given.json) print(doneLine(done))
    }
  } finally {
    const remaining = steps.length - applied.length
    if (given.json) printJson({ applied, remaining })
    if (remaining > 0)
      note(`${remaining} of ${steps.length} changes were not made. Look at the error, then apply again.`)
    else note(`${applied.length} changes were made.`)
    if (applied.some((done) => 'api_key' in done))
      note(
        'New keys are shown this once and are kept nowhere: put them where their agents read AGENTGUARD_AGENT_KEY.',
      )
  }
  return EXIT.ok
}

function taken(step: AnyStep, connection: Connection, made: Map<string, string>): Promise<AnyDone> {
  if ('agent' in step) return take(step, connection, made)
  return 'member' in step ? takePerson(step, connection) : takeSettings(step, connection)
}

const riskText = (risk: RiskLevel | null): string => risk ?? 'unrated'

function show(steps: readonly AnyStep[]): void {
  if (steps.length === 0) return note('Nothing to change.')
  for (const step of steps) {
    switch (step.kind) {
      case 'create':
        print(colored(clean(`+ agent ${step.agent} (${placeOf(step.wanted)})`), 32))
        break
      case 'update':
        print(clean(`~ agent ${step.agent}: environment ${step.from} → ${step.to}`))
        break
      case 'risk':
        print(clean(`~ agent ${step.agent}: risk ${riskText(step.from)} → ${riskText(step.to)}`))
        break
      case 'settings':
        for (const line of settingsLines(step)) print(clean(`~ approval settings: ${line}`))
        break
      case 'policy':
        print(
          clean(`~ policy of ${step.agent}${step.version === null ? '' : `, now version ${step.version}`}`),
        )
        printChanges(step.changes, '    ')
        break
      case 'delete':
        print(colored(clean(`- agent ${step.agent} (${step.agent_id})`), 31))
        break
      case 'invite':
        print(colored(clean(`+ member ${step.member} (${placeText(step.to)})`), 32))
        break
      case 'member':
        print(clean(`~ member ${step.member}: ${placeText(step.from)} → ${placeText(step.to)}`))
    }
  }
}

const placeOf = ({ environment, risk_level }: WantedAgent): string =>
  risk_level ? `${environment}, ${risk_level} risk` : environment

function doneLine(done: AnyDone): string {
  if ('settings' in done) return 'changed: approval settings'
  if ('member' in done) {
    const { kind, member, member_id, invitation_id, link } = done
    const words = [`${kind === 'invite' ? 'invited' : 'changed'}: ${member}`, member_id, invitation_id, link]
    return clean(words.filter(Boolean).join('  '))
  }
  const { kind, agent, agent_id, version, api_key } = done
  const verbs = {
    create: 'made',
    update: 'changed',
    risk: 'changed',
    policy: 'policy set',
    delete: 'deleted',
  }
  const words = [
    `${verbs[kind]}: ${agent}`,
    agent_id,
    version === undefined ? '' : `version ${version}`,
    api_key ?? '',
  ]
  return clean(words.filter(Boolean).join('  '))
}
