import { agentCommands } from './agents.js'
import { approvalCommands } from './approvals.js'
import type { Command } from './command.js'
import { completionCommand } from './completion.js'
import { doctorCommands } from './doctor.js'
import { enforceCommands } from './enforce.js'
import { evidenceCommands } from './evidence.js'
import { keyCommands } from './keys.js'
import { killCommands } from './kill.js'
import { loginCommands } from './login.js'
import { logCommands } from './logs.js'
import { planCommands } from './plan.js'
import { policyCommands } from './policy.js'

/** Every command, in the order of help. A new one is added here and nowhere else. */
export const COMMANDS: readonly Command[] = [
  ...loginCommands,
  ...doctorCommands,
  ...agentCommands,
  ...keyCommands,
  ...policyCommands,
  ...planCommands,
  ...enforceCommands,
  ...logCommands,
  ...approvalCommands,
  ...killCommands,
  ...evidenceCommands,
  completionCommand(() => COMMANDS),
]
