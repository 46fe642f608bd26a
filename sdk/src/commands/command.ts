import { parseArgs } from 'node:util'
import { UsageError } from '../usage.js'
import { accessOf, Connection } from './connection.js'

/** One option of a command. */
export interface Option {
  /** What stands for its value in help, such as `file`; absent: a flag without a value. */
  readonly value?: string
  readonly short?: string
  /** May be given more than once. */
  readonly many?: boolean
  /** The only values it may have; also what a shell completes. */
  readonly choices?: readonly string[]
  readonly summary: string
}
export type Options = Readonly<Record<string, Option>>

/** One command: help, completion and parsing are all made from this. */
export interface Command {
  /** One or two words: `agents list`. */
  readonly name: string
  readonly summary: string
  /** `<required>` and `[optional]`, separated by spaces. */
  readonly arguments?: string
  readonly options?: Options
  /** Further sentences of its help. */
  readonly details?: string
  /** Needs no service: it does not have the common options. */
  readonly offline?: true
  /** The exit code of a failure; 2 for the commands whose codes from 10 name what was found. Default 1. */
  readonly failure?: 2
  run(given: Given): Promise<number> | number
}

/** Exit codes of everything that asks the service. */
export const EXIT = { ok: 0, error: 1, denied: 2, pending: 3 } as const

/** What every command that speaks with the service takes. */
export const COMMON: Options = {
  url: { value: 'url', summary: 'the service; default AGENTGUARD_URL, then the profile' },
  profile: { value: 'name', summary: 'keys and URL that `agentguard login` kept under this name' },
  org: { value: 'org_id', summary: 'with the root key: the organization to work in' },
  json: { summary: 'for programs: JSON on standard output' },
}
const HELP: Options = { help: { short: 'h', summary: 'this text' } }

export const optionsOf = (command: Command): Options => ({
  ...command.options,
  ...(command.offline ? {} : COMMON),
  ...HELP,
})

export const argumentsOf = ({ arguments: text = '' }: Command): string[] => text.split(' ').filter(Boolean)

export const usageOf = (command: Command): string =>
  ['agentguard', command.name, command.arguments, ...(command.options ? ['[options]'] : [])]
    .filter(Boolean)
    .join(' ')

type Values = Readonly<Record<string, string | boolean | (string | boolean)[] | undefined>>

/** The arguments and options of one call, read as the command asks for them. */
export class Given {
  constructor(
    readonly command: Command,
    private readonly values: Values,
    private readonly positionals: readonly string[],
  ) {}

  get json(): boolean {
    return this.flag('json')
  }

  /** An argument that the command requires: `parse` has made sure of it. */
  argument(position: number): string {
    return this.positionals[position] ?? ''
  }

  optional(position: number): string | undefined {
    return this.positionals[position]
  }

  flag(name: string): boolean {
    return this.values[name] === true
  }

  text(name: string): string | undefined {
    const value = this.values[name]
    return typeof value === 'string' ? value : undefined
  }

  required(name: string): string {
    const value = this.text(name)
    if (value === undefined) throw this.mistake(`--${name} is missing.`)
    return value
  }

  list(name: string): string[] {
    const value = this.values[name]
    return Array.isArray(value) ? value.filter((item) => typeof item === 'string') : []
  }

  /** A whole number. */
  number(name: string, { min, max }: { min: number; max: number }): number | undefined {
    const text = this.text(name)
    if (text === undefined) return undefined
    const value = Number(text)
    if (/^\d{1,10}$/.test(text) && value >= min && value <= max) return value
    throw this.mistake(`--${name} is a whole number from ${min} to ${max}.`)
  }

  /** A JSON object, such as the context of a request. */
  object(name: string): Record<string, unknown> | undefined {
    const text = this.text(name)
    if (text === undefined) return undefined
    try {
      const value: unknown = JSON.parse(text)
      if (typeof value === 'object' && value !== null && !Array.isArray(value)) return { ...value }
    } catch {
      // Said below.
    }
    throw this.mistake(`--${name} is a JSON object, such as '{"ticket": 7}'.`)
  }

  /** The service, with the keys that are meant for it. */
  connect(): Connection {
    return new Connection(
      accessOf({
        url: this.text('url'),
        profile: this.text('profile'),
        org_id: this.text('org'),
      }),
    )
  }

  mistake(message: string): UsageError {
    return new UsageError(`${message} Usage: ${usageOf(this.command)}`)
  }
}

/** Reads the words after a command's name. @throws UsageError saying what is wrong and how the command is used */
export function parse(command: Command, args: readonly string[]): Given {
  const described = optionsOf(command)
  const options = Object.fromEntries(
    Object.entries(described).map(([name, { value, short, many }]) => [
      name,
      {
        type: value === undefined ? ('boolean' as const) : ('string' as const),
        ...(short !== undefined && { short }),
        ...(many && { multiple: true }),
      },
    ]),
  )
  const { values, positionals } = read(command, args, options)
  const given = new Given(command, values, positionals)
  for (const [name, { choices }] of Object.entries(described)) {
    const value = given.text(name)
    if (choices && value !== undefined && !choices.includes(value))
      throw given.mistake(`--${name} is one of ${choices.join(', ')}.`)
  }
  if (given.flag('help')) return given
  const wanted = argumentsOf(command)
  const missing = wanted.filter((word) => word.startsWith('<'))[positionals.length]
  if (missing !== undefined) throw given.mistake(`${missing} is missing.`)
  if (positionals.length > wanted.length) throw given.mistake('There are too many arguments.')
  return given
}

function read(
  command: Command,
  args: readonly string[],
  options: NonNullable<Parameters<typeof parseArgs>[0]>['options'] & object,
): { values: Values; positionals: string[] } {
  try {
    return parseArgs({ args: [...args], options, allowPositionals: true })
  } catch (error) {
    const words = error instanceof Error ? error.message.replace(/\. To specify .*/s, '.') : String(error)
    throw new UsageError(`${words} Usage: ${usageOf(command)}`)
  }
}
