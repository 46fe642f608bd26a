import { type Command, EXIT, optionsOf } from './command.js'
import { print } from './output.js'

const SHELLS = ['bash', 'zsh', 'fish'] as const

export const completionCommand = (commands: () => readonly Command[]): Command => ({
  name: 'completion',
  summary: 'what a shell completes: source its output in bash or zsh, or pipe it to source in fish',
  arguments: '<bash|zsh|fish>',
  offline: true,
  run(given) {
    switch (given.argument(0)) {
      case 'bash':
        print(bash(commands()))
        return EXIT.ok
      case 'zsh':
        print(`autoload -U +X bashcompinit && bashcompinit\n${bash(commands())}`)
        return EXIT.ok
      case 'fish':
        print(fish(commands()))
        return EXIT.ok
      default:
        throw given.mistake(`The shell is one of ${SHELLS.join(', ')}.`)
    }
  },
})

/** First words, and the second words of each. */
function wordsOf(commands: readonly Command[]): Map<string, string[]> {
  const words = new Map<string, string[]>()
  for (const { name } of commands) {
    const [first = '', second] = name.split(' ')
    words.set(first, [...(words.get(first) ?? []), ...(second === undefined ? [] : [second])])
  }
  return words
}

const flagsOf = (command: Command): string[] => Object.keys(optionsOf(command)).map((name) => `--${name}`)

function bash(commands: readonly Command[]): string {
  const words = wordsOf(commands)
  const seconds = [...words].filter(([, list]) => list.length > 0)
  const choices = new Map(
    commands.flatMap((command) =>
      Object.entries(optionsOf(command)).flatMap(([name, option]) =>
        option.choices ? [[`${command.name} --${name}`, option.choices.join(' ')] as const] : [],
      ),
    ),
  )
  return `_agentguard() {
  local cur="\${COMP_WORDS[COMP_CWORD]}" prev="\${COMP_WORDS[COMP_CWORD-1]}" first="\${COMP_WORDS[1]}" second="\${COMP_WORDS[2]}"
  local words=""
  if [ "$COMP_CWORD" -eq 1 ]; then
    words="${[...words.keys(), 'help'].join(' ')}"
  else
    case "$first $second $prev" in
${[...choices].map(([at, list]) => `      "${at.replace(/^(\S+) (--\S+)$/, '$1 "*" $2')}") words="${list}" ;;`).join('\n')}
    esac
    if [ -z "$words" ] && [ "$COMP_CWORD" -eq 2 ]; then
      case "$first" in
${seconds.map(([first, list]) => `        ${first}) words="${list.join(' ')}" ;;`).join('\n')}
        completion) words="${SHELLS.join(' ')}" ;;
      esac
    fi
    if [ -z "$words" ]; then
      case "$first $second" in
${commands.map((command) => `        "${command.name}"${command.name.includes(' ') ? '' : '*'}) words="${flagsOf(command).join(' ')}" ;;`).join('\n')}
      esac
    fi
  fi
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
}
complete -o default -F _agentguard agentguard`
}

const quoted = (text: string): string => `'${text.replace(/['\\]/g, (character) => `\\${character}`)}'`

function fish(commands: readonly Command[]): string {
  const lines = commands.flatMap((command) => {
    const [first = '', second] = command.name.split(' ')
    const seen = `__fish_seen_subcommand_from ${first}${second === undefined ? '' : `; and __fish_seen_subcommand_from ${second}`}`
    return [
      second === undefined
        ? `complete -c agentguard -n __fish_use_subcommand -a ${first} -d ${quoted(command.summary)}`
        : `complete -c agentguard -n '__fish_seen_subcommand_from ${first}' -a ${second} -d ${quoted(command.summary)}`,
      ...Object.entries(optionsOf(command)).map(
        ([name, { value, short, choices, summary }]) =>
          `complete -c agentguard -n '${seen}' -l ${name}${short === undefined ? '' : ` -s ${short}`}${value === undefined ? '' : ' -r'}${choices ? ` -a ${quoted(choices.join(' '))}` : ''} -d ${quoted(summary)}`,
      ),
    ]
  })
  const nouns = [...wordsOf(commands)].filter(([, list]) => list.length > 0)
  const first = nouns.map(([noun]) => `complete -c agentguard -n __fish_use_subcommand -a ${noun}`)
  return [...first, ...lines].join('\n')
}
