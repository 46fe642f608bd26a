import type { Decision } from '../types.js'
import { type Command, EXIT } from './command.js'
import { clean, print, printJson } from './output.js'

/** 0 allowed, 2 denied, 3 pending: only 0 allows. */
export function exitCodeOf(status: Decision['status']): number {
  switch (status) {
    case 'allowed':
      return EXIT.ok
    case 'denied':
      return EXIT.denied
    case 'pending':
      return EXIT.pending
  }
}

export const enforceCommands: readonly Command[] = [
  {
    name: 'enforce',
    summary: 'asks as an agent: may I do this? The decision is recorded',
    arguments: '<action> [resource]',
    options: {
      context: { value: 'json', summary: 'anything worth recording; kept encrypted' },
      arguments: { value: 'json', summary: 'the arguments of the call; kept encrypted' },
      approval: { value: 'approval_id', summary: 'uses up what a person granted' },
    },
    details: 'Exit codes: 0 allowed, 2 denied, 3 pending, 1 no answer. Needs a key of an agent.',
    async run(given) {
      const [resource, context] = [given.optional(1), given.object('context')]
      const [args, approval_id] = [given.object('arguments'), given.text('approval')]
      const decision = await given.connect().client.enforce({
        action: given.argument(0),
        ...(resource !== undefined && { resource }),
        ...(context && { context }),
        ...(args && { arguments: args }),
        ...(approval_id !== undefined && { approval_id }),
      })
      if (given.json) printJson(decision)
      else {
        print(clean(`${decision.status}: ${decision.reason}`))
        print(clean(`decision ${decision.decision_id}, log entry ${decision.log.index}`))
        if (decision.approval_id) print(clean(`approval ${decision.approval_id}`))
      }
      return exitCodeOf(decision.status)
    },
  },
]
