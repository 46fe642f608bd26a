#!/usr/bin/env node
import { type Command, COMMON, EXIT, parse } from './commands/command.js'
import { helpOf, overview } from './commands/help.js'
import { clean, lineOf } from './commands/output.js'
import { COMMANDS } from './commands/table.js'
import { AgentGuardError, APIError } from './errors.js'
import { UsageError } from './usage.js'

const isHelp = (word: string | undefined): boolean => word === '--help' || word === '-h'

/** The command that these words begin with, and the words after its name. */
function find(words: readonly string[]): { command: Command; rest: readonly string[] } | undefined {
  for (const count of [2, 1]) {
    const name = words.slice(0, count).join(' ')
    const command = COMMANDS.find((one) => one.name === name && name.split(' ').length === count)
    if (command) return { command, rest: words.slice(count) }
  }
  return undefined
}

/** Common options may stand before the command: they are read as if they stood behind it. */
function commandFirst(args: readonly string[]): string[] {
  const before: string[] = []
  let at = 0
  for (; at < args.length; at++) {
    const word = args[at] ?? ''
    const option = word.startsWith('--') ? COMMON[word.slice(2).split('=')[0] ?? ''] : undefined
    if (!option) break
    before.push(word)
    const value = option.value === undefined || word.includes('=') ? undefined : args[++at]
    if (value !== undefined) before.push(value)
  }
  const rest = args.slice(at)
  const words = find(rest)
  return words ? [...words.command.name.split(' '), ...before, ...words.rest] : rest
}

async function run(args: readonly string[]): Promise<number> {
  const words = commandFirst(args)
  if (words[0] === 'help' || isHelp(words[0])) return help(words.slice(1))
  const found = find(words)
  if (!found) return unknown(words)
  const { command, rest } = found
  try {
    const given = parse(command, rest)
    if (given.flag('help')) return help([command.name])
    return await command.run(given)
  } catch (error) {
    process.stderr.write(`agentguard: ${describe(error)}\n`)
    return command.failure ?? EXIT.error
  }
}

function help(words: readonly string[]): number {
  const found = find(words.flatMap((word) => word.split(' ')))
  process.stdout.write(found ? helpOf(found.command) : overview(COMMANDS, nounOf(words)))
  return EXIT.ok
}

/** The first word, where commands begin with it. */
const nounOf = ([noun]: readonly string[]): string | undefined =>
  COMMANDS.some(({ name }) => name.split(' ')[0] === noun) ? noun : undefined

function unknown(words: readonly string[]): number {
  const noun = nounOf(words)
  if (noun !== undefined && words.some(isHelp)) return help([noun])
  process.stderr.write(overview(COMMANDS, noun))
  if (words.length > 0 && (noun === undefined || words.length > 1))
    process.stderr.write(`\nagentguard: there is no command ${clean(words.slice(0, 2).join(' '))}.\n`)
  return EXIT.error
}

/** One line that says what to do; a stack only for what should not have happened. */
function describe(error: unknown): string {
  if (error instanceof APIError) return lineOf(error)
  if (error instanceof UsageError || error instanceof AgentGuardError) return clean(error.message)
  return error instanceof Error ? (error.stack ?? error.message) : String(error)
}

// `agentguard logs | head` is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error
  process.exit(EXIT.ok)
})

void run(process.argv.slice(2)).then((code) => {
  process.exitCode = code
})
