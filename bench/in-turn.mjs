// A closed loop in which many agents are asked in turn: the connections share one place in the list, so that a list of
// 10,000 is gone through once before anybody is asked again. (autocannon gives every connection the whole list from its
// beginning: with 32 connections and a few thousand requests only the first hundred agents would ever be asked.)
import net from 'node:net'
import { performance } from 'node:perf_hooks'
import { cpuOf } from './load.mjs'

/** A whole HTTP request as bytes: made once, so that the load generator has little to do beside the server. */
export function bytesOf(base, { path, headers, body }) {
  const { host } = new URL(base)
  const lines = Object.entries({ host, ...headers, 'content-length': Buffer.byteLength(body) })
  return Buffer.from(
    `POST ${path} HTTP/1.1\r\n${lines.map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n${body}`,
  )
}

/**
 * `connections` that each ask the next of `requests` as soon as they are answered, for `seconds` or until `count` were
 * asked. CPU is per answer, in µs; `refused` counts 503s, every other answer but 200 is thrown.
 */
export async function inTurn(subject, connections, requests, { seconds, count = Infinity }) {
  const before = cpuOf(subject)
  const began = performance.now()
  const until = seconds === undefined ? Infinity : began + seconds * 1000
  const { hostname, port } = new URL(subject.base)
  const latencies = []
  let next = 0
  let refused = 0

  const connection = () =>
    new Promise((resolve, reject) => {
      let answer = Buffer.alloc(0)
      let sent_at = 0
      const socket = net.connect(Number(port), hostname)
      const ask = () => {
        if (next >= count || performance.now() >= until) {
          socket.end(resolve)
          return
        }
        sent_at = performance.now()
        socket.write(requests[next++ % requests.length])
      }
      socket.setNoDelay(true).once('connect', ask).once('error', reject)
      socket.on('data', (chunk) => {
        answer = answer.length === 0 ? chunk : Buffer.concat([answer, chunk])
        const status = statusOf(answer)
        if (status === null) return
        if (status !== 200 && status !== 503) socket.destroy(new Error(answer.toString()))
        if (status === 503) refused++
        latencies.push(performance.now() - sent_at)
        answer = Buffer.alloc(0)
        ask()
      })
    })
  await Promise.all(Array.from({ length: connections }, connection))

  const took_s = (performance.now() - began) / 1000
  const after = cpuOf(subject)
  latencies.sort((a, b) => a - b)
  return {
    rps: latencies.length / took_s,
    refused,
    p99_ms: latencies[Math.floor(latencies.length * 0.99)] ?? NaN,
    server_us: ((after.server - before.server) / latencies.length) * 1e6,
    postgres_us: ((after.postgres - before.postgres) / latencies.length) * 1e6,
  }
}

/** The status of an answer that has come whole; null as long as something is missing. */
function statusOf(answer) {
  const end = answer.indexOf('\r\n\r\n')
  if (end < 0) return null
  const head = answer.latin1Slice(0, end)
  const length = Number(/^content-length: (\d+)/im.exec(head)?.[1])
  return answer.length < end + 4 + length ? null : Number(head.slice(9, 12))
}
