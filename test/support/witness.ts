import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { CLI } from './sdk.js'

export interface WitnessProcess {
  readonly url: string
  readonly vkey: string
  readonly child: ChildProcess
  /** What it wrote to standard error so far. */
  readonly errors: () => string
  add(body: string): Promise<{ status: number; type: string | null; text: string }>
  /** Ends it: politely, or as a crash would. */
  end(signal?: 'SIGTERM' | 'SIGKILL'): Promise<number | null>
}

/** `agentguard witness` as a process of its own; resolves when it listens. */
export async function startWitness(
  dir: string,
  log_keys: readonly string[],
  more: readonly string[] = [],
): Promise<WitnessProcess> {
  const args = ['witness', '--dir', dir, ...log_keys.flatMap((key) => ['--log-key', key]), ...more]
  if (!more.includes('--listen')) args.push('--listen', '127.0.0.1:0')
  const child = spawn(process.execPath, [CLI, ...args], { env: { ...process.env, NODE_OPTIONS: '' } })
  let errors = ''
  child.stderr.on('data', (chunk: Buffer) => (errors += chunk.toString()))
  // Not `exit`: what it said last may be read after that.
  const exited = once(child, 'close') as Promise<[number | null]>
  const line = await Promise.race([
    once(child.stdout, 'data').then(([chunk]) => String(chunk)),
    exited.then(([code]) => Promise.reject(new Error(`the witness ended with ${code}: ${errors}`))),
  ])
  const { url, vkey } = JSON.parse(line) as { url: string; vkey: string }
  return {
    url,
    vkey,
    child,
    errors: () => errors,
    add: async (body) => {
      const response = await fetch(`${url}/add-checkpoint`, { method: 'POST', body })
      return {
        status: response.status,
        type: response.headers.get('content-type'),
        text: await response.text(),
      }
    },
    end: async (signal = 'SIGTERM') => {
      child.kill(signal)
      return (await exited)[0]
    },
  }
}
