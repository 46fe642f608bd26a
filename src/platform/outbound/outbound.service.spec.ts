import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import http from 'node:http'
import https from 'node:https'
import net, { type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { testSettings } from '../../../test/support/settings.js'
import { Outbound, OutboundError, type Resolver } from './outbound.service.js'

const closers: (() => void)[] = []
afterEach(() => closers.splice(0).forEach((close) => close()))

interface Receiver {
  readonly port: number
  /** Bodies of the requests that arrived. */
  readonly received: string[]
}

async function listen(server: http.Server | net.Server, received: string[] = []): Promise<Receiver> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  closers.push(() => {
    if (server instanceof http.Server) server.closeAllConnections()
    server.close()
  })
  return { port: (server.address() as AddressInfo).port, received }
}

function receiver(answer: (response: http.ServerResponse) => void): Promise<Receiver> {
  const received: string[] = []
  const server = http.createServer((request, response) => {
    let body = ''
    request.on('data', (chunk: Buffer) => (body += chunk.toString()))
    request.on('end', () => {
      received.push(body)
      answer(response)
    })
  })
  return listen(server, received)
}

/** Answers in turn; the last one for good. */
const answering = (...answers: string[][]) => {
  const asked: string[] = []
  const resolver: Resolver = async (host) => {
    asked.push(host)
    const answer = answers[Math.min(asked.length, answers.length) - 1] ?? []
    return answer.map((address) => ({ address, family: address.includes(':') ? 6 : 4 }))
  }
  return { resolver, asked }
}

const outbound = (allow: string[], resolver?: Resolver) =>
  new Outbound(testSettings({ outbound_allow: allow }), resolver)

const post = (client: Outbound, url: string, timeout_ms = 2_000) =>
  client.post({ url, headers: { 'content-type': 'application/json' }, body: '{"a":1}', timeout_ms })

async function failure(work: Promise<unknown>): Promise<string> {
  const error: unknown = await work.then(
    () => 'it was answered',
    (reason: unknown) => reason,
  )
  return error instanceof OutboundError ? error.code : String(error)
}

it('delivers to an address that the operator listed (the control of everything below)', async () => {
  const { port, received } = await receiver((response) =>
    response.writeHead(200, { 'retry-after': '7' }).end('ok'),
  )
  const answer = await post(outbound(['127.0.0.0/8']), `http://127.0.0.1:${port}/`)
  expect(answer).toEqual({ status: 200, retry_after: '7', body: 'ok' })
  expect(received).toEqual(['{"a":1}'])
})

it('sends nothing to a local receiver that is not listed, by address or by name', async () => {
  const { port, received } = await receiver((response) => response.end())
  const { resolver } = answering(['127.0.0.1'])
  expect(await failure(post(outbound([]), `https://127.0.0.1:${port}/`))).toBe('port')
  expect(await failure(post(outbound(['10.0.0.0/8'], resolver), `http://hooks.example.com:${port}/`))).toBe(
    'address',
  )
  expect(await failure(post(outbound([], resolver), 'https://hooks.example.com/'))).toBe('address')
  expect(received).toEqual([])
})

describe('DNS rebinding', () => {
  it('connects to the vetted answer and never asks again', async () => {
    const good = await receiver((response) => response.end('vetted'))
    const { resolver, asked } = answering(['127.0.0.1'], ['127.0.0.2'])
    const client = outbound(['127.0.0.1'], resolver)
    expect((await post(client, `http://hooks.example.com:${good.port}/`)).body).toBe('vetted')
    expect(asked).toEqual(['hooks.example.com'])
  })

  it('judges every attempt by its own answer, so a name that turns is refused from then on', async () => {
    const { port, received } = await receiver((response) => response.end())
    const { resolver } = answering(['127.0.0.1'], ['127.0.0.2'], ['127.0.0.1', '127.0.0.2'], ['127.0.0.1'])
    const client = outbound(['127.0.0.1'], resolver)
    const url = `http://hooks.example.com:${port}/`
    expect((await post(client, url)).status).toBe(200)
    expect(await failure(post(client, url))).toBe('address')
    expect(await failure(post(client, url))).toBe('address')
    expect((await post(client, url)).status).toBe(200)
    expect(received).toHaveLength(2)
  })

  it('control: a client that resolves again when it connects reaches the second answer', async () => {
    const inside = await receiver((response) => response.end('inside'))
    const { resolver } = answering(['93.184.215.14'], ['127.0.0.1'])
    const vetted = await resolver('hooks.example.com')
    expect(vetted).toEqual([{ address: '93.184.215.14', family: 4 }])
    const reached = await new Promise<string>((resolve, reject) => {
      const lookup: net.LookupFunction = (host, options, callback) =>
        void resolver(host).then((all) =>
          options.all ? callback(null, [...all]) : callback(null, all[0]!.address, 4),
        )
      http
        .get({ host: 'hooks.example.com', port: inside.port, lookup }, (response) => {
          response.on('data', (chunk: Buffer) => resolve(chunk.toString()))
        })
        .on('error', reject)
    })
    expect(reached).toBe('inside')
  })
})

it('answers with a redirect instead of following it', async () => {
  const inside = await receiver((response) => response.end('inside'))
  for (const status of [301, 302, 303, 307, 308]) {
    const { port } = await receiver((response) =>
      response.writeHead(status, { location: `http://127.0.0.1:${inside.port}/` }).end(),
    )
    expect((await post(outbound(['127.0.0.1']), `http://127.0.0.1:${port}/`)).status).toBe(status)
  }
  expect(inside.received).toEqual([])
})

describe('a receiver that misbehaves', () => {
  const client = outbound(['127.0.0.1'])
  const codeOf = async (server: Promise<Receiver>, timeout_ms?: number) =>
    failure(post(client, `http://127.0.0.1:${(await server).port}/`, timeout_ms))

  it('and hangs is left after the timeout: before the answer, in its head, in its body', async () => {
    const sockets = (write?: string) => {
      const server = net.createServer((socket) => {
        closers.push(() => socket.destroy())
        socket.on('error', () => undefined)
        if (write !== undefined) socket.write(write)
      })
      return listen(server)
    }
    expect(await codeOf(sockets(), 200)).toBe('timeout')
    expect(await codeOf(sockets('HTTP/1.1 200 OK\r\nX: '), 200)).toBe('timeout')
    expect(await codeOf(sockets('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc'), 200)).toBe('timeout')
  })

  it('and drips its answer byte by byte gets no more time than one that hangs', async () => {
    const drip = receiver((response) => {
      const timer = setInterval(() => response.write('x'), 20)
      closers.push(() => clearInterval(timer))
    })
    expect(await codeOf(drip, 300)).toBe('timeout')
  })

  it('and closes before or in the middle of its answer has not answered', async () => {
    expect(await codeOf(receiver((response) => response.socket?.destroy()))).toBe('broken')
    const half = receiver((response) => {
      response.writeHead(200, { 'content-length': '100' }).write('half')
      setImmediate(() => response.socket?.destroy())
    })
    expect(await codeOf(half)).toBe('broken')
  })

  it('and answers without end, or not with HTTP, is not listened to', async () => {
    const endless = receiver((response) => {
      const more = () => {
        while (!response.destroyed && response.write('x'.repeat(16_384)));
        if (!response.destroyed) response.once('drain', more)
      }
      more()
    })
    expect(await codeOf(endless)).toBe('too_large')
    const noise = net.createServer((socket) => {
      socket.on('error', () => undefined)
      socket.end('SSH-2.0-OpenSSH_9.2\r\n')
    })
    expect(await codeOf(listen(noise))).toBe('broken')
  })

  it('and is not there at all, or has no name, is said to be so', async () => {
    const { port } = await listen(net.createServer())
    closers.splice(0).forEach((close) => close())
    expect(await failure(post(client, `http://127.0.0.1:${port}/`))).toBe('connect')
    const gone = outbound([], () => Promise.reject(new Error('ENOTFOUND')))
    expect(await failure(post(gone, 'https://hooks.example.com/'))).toBe('resolve')
    const silent = outbound([], () => new Promise(() => undefined))
    expect(await failure(post(silent, 'https://hooks.example.com/', 100))).toBe('timeout')
  })
})

it('verifies certificates, also when the process is told not to', async () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'outbound-tls-'))
  closers.push(() => rmSync(folder, { recursive: true, force: true }))
  const [key, cert] = ['key.pem', 'cert.pem'].map((name) => path.join(folder, name))
  const made = [
    'req',
    '-x509',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:prime256v1',
    '-nodes',
    '-days',
    '2',
  ]
  execFileSync('openssl', [...made, '-subj', '/CN=localhost', '-keyout', key!, '-out', cert!], {
    stdio: 'ignore',
  })
  const received: string[] = []
  const server = https.createServer({ key: readFileSync(key!), cert: readFileSync(cert!) }, (_, response) => {
    received.push('reached')
    response.end()
  })
  const { port } = await listen(server, received)
  const before = process.env.NODE_TLS_REJECT_UNAUTHORIZED
  process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0'
  try {
    expect(await failure(post(outbound(['127.0.0.1']), `https://127.0.0.1:${port}/`))).toBe('tls')
  } finally {
    if (before === undefined) delete process.env.NODE_TLS_REJECT_UNAUTHORIZED
    else process.env.NODE_TLS_REJECT_UNAUTHORIZED = before
  }
  expect(received).toEqual([])
})
