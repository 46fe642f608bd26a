// Two ways to ask: as fast as answers come (closed loop), and at fixed moments whether or not answers come (open loop).
import autocannon from 'autocannon'
import http from 'node:http'
import { performance } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { cpuSeconds } from './machine.mjs'

/** Closed loop: `connections` that each ask again as soon as they are answered. CPU is per answer, in µs. */
export async function closedLoop(subject, connections, duration) {
  const before = cpuOf(subject)
  const result = await autocannon({
    url: subject.base + subject.request.path,
    method: 'POST',
    connections,
    duration,
    headers: subject.request.headers,
    body: subject.request.body,
  })
  const after = cpuOf(subject)
  if (result.non2xx > 0 || result.errors > 0)
    throw new Error(`${subject.name}: ${result.non2xx} answers were not 2xx, ${result.errors} errors`)
  const count = result.requests.total
  return {
    rps: count / result.duration,
    p50_ms: result.latency.p50,
    p99_ms: result.latency.p99,
    server_us: ((after.server - before.server) / count) * 1e6,
    postgres_us: ((after.postgres - before.postgres) / count) * 1e6,
  }
}

/** CPU seconds that the server and its PostgreSQL have used so far. */
export const cpuOf = ({ pid, postgres }) => ({
  server: cpuSeconds(pid),
  postgres: postgres === undefined ? 0 : cpuSeconds(postgres, true),
})

/**
 * Open loop: request i is due at i / rate. Its latency counts from then, not from when a connection was free, so a
 * server that stalls cannot hide the requests that had to wait (no coordinated omission).
 */
export async function openLoop(subject, rate, seconds) {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 512 })
  const { hostname, port } = new URL(subject.base)
  const { path, headers, body } = subject.request
  const latencies = []
  let failed = 0
  let open = 0
  const start = performance.now() + 100
  const send = (due) => {
    open++
    const request = http.request({ agent, hostname, port, path, headers, method: 'POST' }, (response) => {
      if (response.statusCode !== 200) failed++
      response.resume()
      response.once('end', () => {
        latencies.push(performance.now() - due)
        open--
      })
    })
    request.once('error', () => {
      failed++
      open--
    })
    request.end(body)
  }
  const total = rate * seconds
  for (let i = 0; i < total;) {
    for (; i < total && start + (i / rate) * 1000 <= performance.now(); i++) send(start + (i / rate) * 1000)
    await sleep(1)
  }
  while (open > 0) await sleep(10)
  agent.destroy()
  latencies.sort((a, b) => a - b)
  const at = (share) => latencies[Math.min(latencies.length - 1, Math.floor(latencies.length * share))] ?? NaN
  return { rate, failed, p50_ms: at(0.5), p99_ms: at(0.99), p999_ms: at(0.999), max_ms: at(1) }
}

/** Milliseconds of `count` calls, one after the other: median and the slowest. */
export async function timed(count, call) {
  const times = []
  for (let i = 0; i < count; i++) {
    const start = performance.now()
    await call()
    times.push(performance.now() - start)
  }
  times.sort((a, b) => a - b)
  return { median_ms: times[count >> 1], slowest_ms: times[count - 1] }
}
