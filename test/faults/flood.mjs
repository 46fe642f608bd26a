// A client that floods: on every connection one request after the other, whatever is answered. It begins and pauses
// as it is told. A process of its own, so that its work is not taken for the service's slowness.
import { Agent, request } from 'node:http'

const { url, key, connections, body } = await new Promise((resolve) => process.once('message', resolve))
const bytes = Buffer.from(body)
const agent = new Agent({ keepAlive: true, maxSockets: connections })
const headers = { 'content-type': 'application/json', 'content-length': bytes.length, 'x-agent-key': key }
let statuses = {}
let flooding = false
let idle = Promise.resolve()

const one = () =>
  new Promise((resolve) => {
    const outgoing = request(url, { method: 'POST', agent, headers }, (response) => {
      response.on('error', () => resolve('broken')).on('end', () => resolve(response.statusCode))
      response.resume()
    })
    outgoing.on('error', () => resolve('broken')).end(bytes)
  })

async function connection() {
  while (flooding) {
    const status = await one()
    statuses[status] = (statuses[status] ?? 0) + 1
  }
}

process.on('message', async (word) => {
  if (word === 'begin') {
    flooding = true
    idle = Promise.all(Array.from({ length: connections }, connection))
    process.send('begun')
  } else {
    flooding = false
    await idle
    process.send(statuses)
    statuses = {}
  }
})
process.on('disconnect', () => process.exit())
