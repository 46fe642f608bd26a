import { UsageError } from '../usage.js'
import type { Connection } from './connection.js'

/** What an organization settles about asking people, each under its full name: `max_waiting`, `risk_workflows.high`. */
const KINDS = {
  approve_on_timeout: 'yes or no',
  max_waiting_per_agent: 'number',
  max_waiting: 'number',
  'risk_workflows.unrated': 'workflow',
  'risk_workflows.low': 'workflow',
  'risk_workflows.medium': 'workflow',
  'risk_workflows.high': 'workflow',
  'risk_workflows.critical': 'workflow',
} as const
type Name = keyof typeof KINDS
const RISK = 'risk_workflows'

export const SETTING_NAMES = Object.keys(KINDS) as readonly Name[]

type Value = string | number | boolean | null
/** Settings by their full names; what is absent stays as it is. */
export type Settings = Readonly<Partial<Record<Name, Value>>>

/** One change that makes the settings as the file says. */
export interface SettingsStep {
  readonly kind: 'settings'
  readonly settings: 'approvals'
  readonly from: Settings
  readonly to: Settings
}

export interface SettingsDone {
  readonly kind: 'settings'
  readonly settings: 'approvals'
}

const isName = (name: string): name is Name => Object.hasOwn(KINDS, name)

/** `max_waiting=500`, `risk_workflows.low=none`. @throws UsageError */
export function parseSetting(text: string): Settings {
  const at = text.indexOf('=')
  const name = text.slice(0, Math.max(at, 0))
  const value = text.slice(at + 1)
  if (!isName(name)) throw new UsageError(`--set is name=value; the names are ${SETTING_NAMES.join(', ')}.`)
  switch (KINDS[name]) {
    case 'yes or no':
      if (['yes', 'true'].includes(value)) return { [name]: true }
      if (['no', 'false'].includes(value)) return { [name]: false }
      throw new UsageError(`--set ${name} is yes or no.`)
    case 'number':
      if (/^\d{1,9}$/.test(value)) return { [name]: Number(value) }
      throw new UsageError(`--set ${name} is a whole number.`)
    case 'workflow':
      if (value === '') throw new UsageError(`--set ${name} is the name of a workflow, or none.`)
      return { [name]: value === 'none' ? null : value }
  }
}

/** Settings as a file has them, nested as the service has them. Adds every mistake with its path. */
export function readSettings(source: unknown, path: string, mistakes: string[]): Settings {
  if (!isObject(source)) {
    mistakes.push(`${path}: must be a mapping with ${SETTING_NAMES.join(', ')}`)
    return {}
  }
  const flat = flatten(source)
  if (source[RISK] !== undefined && !isObject(source[RISK]))
    mistakes.push(`${path}.${RISK}: must be a mapping`)
  for (const [name, value] of Object.entries(flat)) {
    if (!isName(name)) mistakes.push(`${path}: ${name} is not known; there are ${SETTING_NAMES.join(', ')}`)
    else if (!fits(name, value)) mistakes.push(`${path}.${name}: must be ${WANTED[KINDS[name]]}`)
  }
  return flat
}

const WANTED = {
  'yes or no': 'true or false',
  number: 'a whole number',
  workflow: 'the name of a workflow, or null for none',
}

function fits(name: Name, value: unknown): boolean {
  switch (KINDS[name]) {
    case 'yes or no':
      return typeof value === 'boolean'
    case 'number':
      return Number.isSafeInteger(value)
    case 'workflow':
      return value === null || typeof value === 'string'
  }
}

type Members = Readonly<Record<string, unknown>>
const isObject = (value: unknown): value is Members =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** By full names. What the service has and this program does not know yet is kept, too. */
function flatten(source: object): Settings {
  return Object.fromEntries(
    Object.entries(source).flatMap(([name, value]: [string, unknown]) =>
      name === RISK && isObject(value)
        ? Object.entries(value).map(([risk, workflow]) => [`${RISK}.${risk}`, workflow] as const)
        : [[name, value] as const],
    ),
  )
}

type PutBody = Parameters<Connection['client']['approvals']['putSettings']>[0]

function nest(settings: Settings): PutBody {
  const own: Record<string, unknown> = {}
  const risk: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(settings)) {
    if (name.startsWith(`${RISK}.`)) risk[name.slice(RISK.length + 1)] = value
    else own[name] = value
  }
  // Read by `KINDS`, and the service validates.
  return { ...own, ...(Object.keys(risk).length > 0 && { [RISK]: risk }) }
}

/** The present settings. */
export const settingsOf = async ({ client }: Connection): Promise<Settings> =>
  flatten(await client.approvals.getSettings())

/** Changes what is given. @returns all settings as they are now */
export const changeSettings = async ({ client }: Connection, changes: Settings): Promise<Settings> =>
  flatten(await client.approvals.putSettings(nest(changes)))

/** What makes the settings as the file says: nothing, or one step. */
export async function settingsSteps(
  wanted: Settings | undefined,
  connection: Connection,
): Promise<SettingsStep[]> {
  if (!wanted || Object.keys(wanted).length === 0) return []
  const present = await settingsOf(connection)
  const names = SETTING_NAMES.filter((name) => wanted[name] !== undefined && wanted[name] !== present[name])
  if (names.length === 0) return []
  const only = (settings: Settings): Settings =>
    Object.fromEntries(names.map((name) => [name, settings[name] ?? null]))
  return [{ kind: 'settings', settings: 'approvals', from: only(present), to: only(wanted) }]
}

export async function takeSettings({ to }: SettingsStep, connection: Connection): Promise<SettingsDone> {
  await changeSettings(connection, to)
  return { kind: 'settings', settings: 'approvals' }
}

/** `max_waiting 10000 → 500`, one a line. */
export const settingsLines = ({ from, to }: SettingsStep): string[] =>
  SETTING_NAMES.filter((name) => to[name] !== undefined).map(
    (name) => `${name} ${valueText(from[name])} → ${valueText(to[name])}`,
  )

const valueText = (value: Value | undefined): string => (value === null ? 'none' : String(value))
