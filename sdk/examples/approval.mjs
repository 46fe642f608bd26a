// An action that a person must approve. Without waiting, the call throws and can be made again with the approval.
import { AgentGuard, ApprovalPending } from '@agentguard/sdk'

const guard = new AgentGuard().guard({ waitForApproval: false }) // AGENTGUARD_AGENT_KEY, AGENTGUARD_URL
const sendMail = guard.tool('send mail', async ({ to }) => `sent to ${to}`, { resource: ({ to }) => to })

try {
  console.log(await sendMail({ to: 'ceo@example.com' }))
} catch (error) {
  if (!(error instanceof ApprovalPending)) throw error
  console.log(`pending: ${error.message}`)
  // Later, when a person has approved: await sendMail.withApproval(error.approval_id)({ to: 'ceo@example.com' })
  // Or wait right here: guard({ waitForApproval: { timeoutMs: 300_000, pollMs: 3_000 } })
}
