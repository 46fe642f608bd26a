// An action that a person must approve. The agent waits; somebody decides; the very same call then runs, once.
// Here the person is an administrator key in the same program: usually somebody clicks, or runs
// `agentguard approvals approve <id>`.
import { AgentGuard } from '@agentguard/sdk'

const client = new AgentGuard() // AGENTGUARD_AGENT_KEY, AGENTGUARD_ADMIN_KEY, AGENTGUARD_URL
const guard = client.guard({ waitForApproval: { timeoutMs: 60_000, pollMs: 200 } })
const sendMail = guard.tool('send mail', async ({ to }) => `sent to ${to}`, { resource: ({ to }) => to })

const sending = sendMail({ to: 'ceo@example.com' })
const refused = sendMail({ to: 'everybody@example.com' }).catch((error) => `not sent: ${error.message}`)

let decided = 0
while (decided < 2) {
  const { items } = await client.approvals.list({ status: 'pending' })
  for (const { approval_id, resource } of items) {
    if (resource === 'ceo@example.com') await client.approvals.approve(approval_id, { reason: 'he knows' })
    else await client.approvals.deny(approval_id, { reason: 'never to everybody' })
    decided++
  }
}
console.log(await sending)
console.log(await refused)
