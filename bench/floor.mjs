// The least that any answer over HTTP costs here: bare node:http that reads the body and sends a fixed document of
// the same size. No key, no decision, no database. PORT says where.
import { createServer } from 'node:http'

const answer = JSON.stringify({
  allowed: true,
  status: 'allowed',
  reason: 'Matched allow rule: read:file on docs/*',
  code: 'allow_rule',
  decision_id: '019a9f3e-0000-7000-8000-000000000000',
  matched_rule: {
    scope: 'agent',
    id: 'pol_0123456789abcdef',
    version: 1,
    list: 'allow',
    index: 30,
    action: 'read:file',
    resource: 'docs/*',
  },
  policy_version: 1,
  log: { index: 123_456 },
})

createServer((request, response) => {
  const chunks = []
  request.on('data', (chunk) => chunks.push(chunk))
  request.on('end', () => {
    JSON.parse(Buffer.concat(chunks).toString() || 'null')
    response.writeHead(200, { 'Content-Type': 'application/json', 'Content-Length': answer.length })
    response.end(answer)
  })
}).listen(Number(process.env.PORT), '127.0.0.1')
