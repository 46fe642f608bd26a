import { once } from 'node:events'
import { Agent, request } from 'node:http'
import { Controller, Get } from '@nestjs/common'
import { Access } from '../../src/platform/access/access.decorator'
import { Shutdown } from '../../src/platform/http/shutdown'
import { startPlatform } from '../support/platform'

let started: () => void
let finish: () => void
let inHandler: Promise<void>
let released: Promise<void>

@Controller('slow')
class SlowController {
  @Get()
  @Access('public')
  async slow() {
    started()
    await released
    return { done: true }
  }
}

beforeEach(() => {
  inHandler = new Promise((resolve) => (started = resolve))
  released = new Promise((resolve) => (finish = resolve))
})

it('answers what is in flight, takes nothing new, then closes in order', async () => {
  const platform = await startPlatform([SlowController])
  const order: string[] = []
  const shutdown = platform.app.get(Shutdown)
  shutdown.onClose('postgres', 'postgres', () => void order.push('postgres'))
  shutdown.onClose('database', 'pools', () => void order.push('database'))
  shutdown.onClose('ledger', 'queue', async () => {
    await new Promise(setImmediate)
    order.push('ledger')
    throw new Error('a closer that fails must not keep the next from closing')
  })
  shutdown.onClose('work', 'poller', () => void order.push('work'))

  const agent = new Agent({ keepAlive: true })
  const pending = request(`${platform.url}/slow`, { agent })
  pending.end()
  await inHandler
  const closing = platform.close().then(() => order.push('closed'))
  while (!shutdown.isDraining) await new Promise(setImmediate)
  await expect(fetch(`${platform.url}/health/live`)).rejects.toThrow()
  expect(order).toEqual([])

  finish()
  const [response] = await once(pending, 'response')
  expect(response.statusCode).toBe(200)
  // Otherwise a kept-alive connection would hold the server open.
  expect(response.headers.connection).toBe('close')
  response.resume()
  await closing
  expect(order).toEqual(['work', 'ledger', 'database', 'postgres', 'closed'])
  agent.destroy()
})

it('does not wait for idle kept-alive connections', async () => {
  const platform = await startPlatform([SlowController])
  const agent = new Agent({ keepAlive: true })
  const idle = request(`${platform.url}/health/live`, { agent })
  idle.end()
  const [response] = await once(idle, 'response')
  response.resume()
  await once(response, 'end')
  const start = performance.now()
  await platform.close()
  expect(performance.now() - start).toBeLessThan(1_000)
  agent.destroy()
})
