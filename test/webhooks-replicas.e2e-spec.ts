import { type RunningApp, startApp } from './support/app.js'
import { Client } from './support/client.js'
import { until } from './support/proofs.js'
import { Receiver } from './support/receiver.js'

const COUNT = 120
const settings = { outbound_allow: ['127.0.0.1'] }

it('two replicas deliver each event once, and in order where it is asked for; one that stops loses nothing', async () => {
  const one = await startApp({ settings })
  const replicas: RunningApp[] = [await startApp({ settings, database: one.database })]
  const unordered = await Receiver.start()
  const ordered = await Receiver.start()
  try {
    const root = new Client(one.url, { 'X-Admin-Key': one.admin_key })
    const made = await root.post<{ agent_id: string; api_key: string }>('/agents', {
      name: 'asker',
      owner_team: 'team',
      environment: 'dev',
    })
    const ids: string[] = []
    const ask = async (url: string, count: number) => {
      const agent = new Client(url, { 'X-Agent-Key': made.body.api_key })
      for (const wanted = ids.length + count; ids.length < wanted;) {
        const answer = await agent.post<{ decision_id: string }>('/enforce', { action: 'read' })
        // A busy machine may refuse one (503), and have committed it all the same.
        if (answer.status === 200) ids.push(answer.body.decision_id)
      }
    }
    await root.post('/webhooks', { name: 'a', url: unordered.url, events: ['decision.made'] })
    await root.post('/webhooks', { name: 'b', url: ordered.url, events: ['decision.made'], ordered: true })
    await ask(one.url, COUNT / 2)
    await ask(replicas[0]!.url, COUNT / 4)
    // Stops in the middle of it: what it was sending is finished or given back.
    await replicas.pop()!.app.close()
    await ask(one.url, COUNT / 4)
    for (const receiver of [unordered, ordered]) {
      const ofThis = () => receiver.received.map(({ body }) => body.data.log_id)
      await until(async () => (ids.every((id) => ofThis().includes(id)) ? true : null))
      const got = ofThis()
      expect(new Set(got).size).toBe(got.length)
    }
    const indexes = ordered.received.map(({ body }) => body.data.log_index as number)
    expect(indexes).toEqual([...indexes].sort((a, b) => a - b))
  } finally {
    for (const replica of replicas) await replica.app.close()
    await unordered.close()
    await ordered.close()
    await one.close()
  }
})
