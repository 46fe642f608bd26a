// The quickstart against a running service: makes an agent, gives it a policy, asks five questions, reports what
// was done, and reads the log. Prints each answer and fails when one is not as documented.
import { readFileSync } from 'node:fs'
import path from 'node:path'

const base = process.env.AGENTGUARD_URL ?? `http://127.0.0.1:${process.env.PORT ?? 8000}`
const adminKey = process.env.ADMIN_API_KEY ?? readKey()

function readKey() {
  const file = path.resolve(process.env.DATA_DIR ?? '.data', 'admin-key')
  try {
    return readFileSync(file, 'utf8').trim()
  } catch {
    fail(`There is no root key in ${file}. Start the service with "make up" first, or set ADMIN_API_KEY.`)
  }
}

function fail(message) {
  console.error(message)
  process.exit(1)
}

async function call(method, route, headers, body) {
  let response
  try {
    response = await fetch(base + route, {
      method,
      headers: { ...headers, ...(body && { 'content-type': 'application/json' }) },
      body: body && JSON.stringify(body),
    })
  } catch (error) {
    fail(
      `Nothing answers at ${base} (${error.cause?.code ?? error.message}). Start the service with "make up".`,
    )
  }
  const text = await response.text()
  if (!response.ok) fail(`${method} ${route} answered ${response.status}: ${text}`)
  return text ? JSON.parse(text) : undefined
}

const step = (title) => console.log(`\n${title}`)
const admin = { 'x-admin-key': adminKey }

step('1. Make an agent. Its key is shown this once.')
const agent = await call('POST', '/agents', admin, {
  name: 'quickstart',
  owner_team: 'demo',
  environment: 'dev',
})
console.log(`   ${agent.agent_id} with key ${agent.key_prefix}…`)
const asAgent = { 'x-agent-key': agent.api_key }

step('2. Say what it may do.')
const policy = await call('PUT', `/agents/${agent.agent_id}/policy`, admin, {
  allow: [{ action: 'read:file' }, { action: 'call:api', resource: 'api.internal.com/*' }],
  deny: [{ action: 'delete:*' }],
})
console.log(`   version ${policy.version}, ${policy.allow.length} allow and ${policy.deny.length} deny rules`)

step('3. Ask before acting. Each answer is in the log before it is given.')
const questions = [
  ['read file', 'document.txt', true],
  ['readFile', 'report.pdf', true],
  ['write:file', 'data.txt', false],
  ['delete-file', 'old.txt', false],
  ['call:api', 'api.internal.com/v1/users', true],
]
let wrong = 0
for (const [action, resource, expected] of questions) {
  const answer = await call('POST', '/enforce', asAgent, { action, resource })
  const mark = answer.allowed === expected ? '' : '   <- not as documented'
  if (mark) wrong++
  console.log(
    `   ${answer.allowed ? 'allowed' : 'denied '}  ${action} ${resource}  (${answer.reason}; log index ${answer.log.index})${mark}`,
  )
  await call('POST', '/logs', asAgent, {
    action,
    resource,
    allowed: answer.allowed,
    result: answer.allowed ? 'success' : 'error',
    decision_id: answer.decision_id,
  })
}

step('4. Read the log: the decisions, and what the agent says it did.')
for (const entry of await call('GET', '/logs?limit=4', asAgent)) {
  console.log(
    `   #${entry.index} ${entry.type.padEnd(8)} ${entry.action} ${entry.resource} allowed=${entry.allowed} by ${entry.source}`,
  )
}

if (wrong > 0) fail(`\n${wrong} answers were not as documented.`)
console.log(`\nDone. The API is described at ${base}/docs`)
