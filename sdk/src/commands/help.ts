import { argumentsOf, type Command, COMMON, type Options, optionsOf, usageOf } from './command.js'

const WIDTH = 100

/** Breaks at spaces; what comes in lines stays in lines. */
function wrap(text: string, indent: string): string {
  return text
    .split('\n')
    .map((line) => {
      if (line.startsWith(' ')) return line
      const lines = [indent]
      for (const word of line.split(' ')) {
        const last = lines[lines.length - 1] ?? ''
        if (last.length + word.length + 1 > WIDTH && last !== indent) lines.push(indent + word)
        else lines[lines.length - 1] = last === indent ? indent + word : `${last} ${word}`
      }
      return lines.join('\n')
    })
    .join('\n')
}

function optionLines(options: Options): string {
  const rows = Object.entries(options).map(([name, { value, short, many, summary }]) => [
    `  ${short === undefined ? '' : `-${short}, `}--${name}${value === undefined ? '' : ` <${value}>`}${many ? '…' : ''}`,
    summary,
  ])
  const width = Math.max(...rows.map(([head = '']) => head.length))
  return rows.map(([head = '', summary = '']) => `${head.padEnd(width)}  ${summary}`).join('\n')
}

export function helpOf(command: Command): string {
  const parts = [
    `${usageOf(command)}\n\n${wrap(command.summary, '  ')}`,
    `Options:\n${optionLines(optionsOf(command))}`,
  ]
  if (command.details !== undefined) parts.push(wrap(command.details, ''))
  return `${parts.join('\n\n')}\n`
}

const commandLines = (commands: readonly Command[]): string => {
  const rows = commands.map((command) => [[command.name, ...argumentsOf(command)].join(' '), command.summary])
  const width = Math.max(...rows.map(([head = '']) => head.length))
  return rows.map(([head = '', summary = '']) => `  ${head.padEnd(width)}  ${summary}`).join('\n')
}

/** All commands, or those of one noun. */
export function overview(commands: readonly Command[], noun?: string): string {
  const shown = noun === undefined ? commands : commands.filter(({ name }) => name.split(' ')[0] === noun)
  return `agentguard: govern AI agents, and check their log without trusting it.

${commandLines(shown)}

Options of everything that asks the service:
${optionLines(COMMON)}

agentguard <command> --help says more. Keys come from the profile that --profile names, else from
AGENTGUARD_ADMIN_KEY, AGENTGUARD_AGENT_KEY or AGENTGUARD_TOKEN (with AGENTGUARD_URL), else from the
current profile. Exit codes: 0 ok, 1 error, 2 denied, 3 pending; verify, replay and export name what
they found by others.
`
}
