// Decides by itself, from a signed bundle of the service, and brings what it decided into the log.
//   AGENTGUARD_AGENT_KEY=agk_… AGENTGUARD_AGENT_ID=agt_… node local.mjs
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { LocalGuard } from '@agentguard/sdk/local'

// A folder on a disk that stays: what the log has not got yet is there, also after a crash.
const spool = process.env.AGENTGUARD_SPOOL ?? mkdtempSync(path.join(tmpdir(), 'agentguard-spool-'))
const local = new LocalGuard({ spool }) // AGENTGUARD_AGENT_KEY, AGENTGUARD_AGENT_ID, AGENTGUARD_URL

const guard = local.guard()
const readFile = guard.tool('read file', async ({ path: file }) => `the text of ${file}`)
const deleteFile = guard.tool('delete file', async () => 'gone')
const sendMail = guard.tool('send mail', async () => 'sent')

console.log(`read_file: ${await readFile({ path: 'report.pdf' })}`)
for (const [name, tool] of Object.entries({ delete_file: deleteFile, send_mail: sendMail }))
  await tool({}).catch((error) => console.log(`${name}: ${error.message}`))

// Sends what waits. What cannot be sent stays in the spool for the next start.
await local.close()
const entries = []
for await (const { event, action } of local.client.logs.list({ limit: 10 })) {
  entries.push(`${event} ${action}`)
  if (entries.length === 10) break
}
console.log(
  entries
    .filter((entry) => entry.startsWith('decision.local'))
    .sort()
    .join('\n'),
)
