// The quickstart: make an agent, say what it may do, ask, report, read the log.
//   AGENTGUARD_ADMIN_KEY=$(cat .data/admin-key) node quickstart.mjs
import { AgentGuard } from '@agentguard/sdk'

const admin = new AgentGuard() // AGENTGUARD_ADMIN_KEY, AGENTGUARD_URL

const made = await admin.agents.create({ name: 'reader', owner_team: 'research', environment: 'dev' })
await admin.policies.put(made.agent_id, {
  allow: [{ action: 'read:file' }, { action: 'call:api', resource: 'api.internal.com/*' }],
  deny: [{ action: 'delete:*' }],
})

const agent = new AgentGuard({ agentKey: made.api_key, baseURL: admin.baseURL })
for (const [action, resource] of [
  ['read file', 'document.txt'],
  ['read file', 'report.pdf'],
  ['write file', 'data.txt'],
  ['delete file', 'old.txt'],
  ['call:api', 'api.internal.com/v1/users'],
]) {
  const { allowed, reason } = await agent.enforce({ action, resource })
  console.log(`${allowed ? 'allow' : 'deny '}  ${action} ${resource}: ${reason}`)
}

// In a program, guard the function instead: it asks before, and reports after.
const readFile = agent.guard().tool('read file', async ({ path }) => `the text of ${path}`, {
  resource: ({ path }) => path,
})
console.log(await readFile({ path: 'report.pdf' }))

for await (const entry of agent.logs.list({ limit: 3 }))
  console.log(`${entry.index}  ${entry.event}  ${entry.action} ${entry.resource}`)
