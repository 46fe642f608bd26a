import { until } from '../support/proofs'
import { Receiver } from '../support/receiver'
import { Replica } from '../support/replica'
import { type StrictPostgres, startStrictPostgres } from '../support/strict-postgres'

jest.setTimeout(180_000)

const COUNT = 60

let postgres: StrictPostgres
let replica: Replica
let receiver: Receiver

beforeAll(async () => {
  postgres = await startStrictPostgres()
  const database_url = await postgres.createDatabase('product')
  replica = await Replica.start({ database_url, env: { OUTBOUND_ALLOW: '127.0.0.1' } })
  receiver = await Receiver.start()
})

afterAll(async () => {
  await replica?.remove()
  await receiver?.close()
  await postgres?.stop()
})

it('kill -9 between the log, the deliveries and the receivers loses no event', async () => {
  await replica.call('POST', '/webhooks', { name: 'all', url: receiver.url, events: ['decision.made'] })
  const agent = await replica.call<{ api_key: string }>('POST', '/agents', {
    name: 'asker',
    owner_team: 'team',
    environment: 'dev',
  })
  const ask = async (count: number): Promise<string[]> => {
    const ids: string[] = []
    for (let i = 0; i < count; i++) {
      const answer = await fetch(`${replica.url}/enforce`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', 'x-agent-key': agent.api_key },
        body: JSON.stringify({ action: 'read' }),
      })
      ids.push(((await answer.json()) as { decision_id: string }).decision_id)
    }
    return ids
  }
  const ids: string[] = []
  // Killed before the worker has read the log.
  ids.push(...(await ask(COUNT / 3)))
  await replica.kill()
  // Killed while receivers have the request and have not answered: nobody knows whether it arrived.
  receiver.answer = () => undefined
  await replica.start()
  ids.push(...(await ask(COUNT / 3)))
  await receiver.arrived(1)
  await replica.kill()
  receiver.answer = (response) => response.end()
  await replica.start()
  ids.push(...(await ask(COUNT / 3)))
  // Killed while it delivers.
  await until(async () => (new Set(receiver.received.map(idOf)).size > COUNT / 2 ? true : null))
  await replica.kill()
  // What was being attempted is due again when its lease of 30 s ends; that moment is brought here.
  await postgres.query('product', "UPDATE deliveries SET next_attempt_at = now() WHERE status = 'pending'")
  await replica.start()
  await until(async () => {
    const rows = await postgres.query<{ left: number }>(
      'product',
      "SELECT count(*)::integer AS left FROM deliveries WHERE status <> 'delivered'",
    )
    return rows[0]?.left === 0 && new Set(receiver.received.map(idOf)).size === COUNT ? true : null
  })
  expect([...new Set(receiver.received.map(idOf))].sort()).toEqual([...ids].sort())
  // At least once: what was under way when it was killed came again, under the same id.
  expect(receiver.received.length).toBeGreaterThan(COUNT)
  expect(new Set(receiver.received.map(({ headers }) => headers['webhook-id'])).size).toBe(COUNT)
})

const idOf = ({ body }: { body: { data: Record<string, unknown> } }): unknown => body.data.log_id
