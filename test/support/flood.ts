import { type ChildProcess, fork } from 'node:child_process'
import path from 'node:path'
import type { Replica } from './replica'

const PROGRAM = path.join(__dirname, '..', 'faults', 'flood.mjs')

export interface FloodOptions {
  readonly url: string
  readonly key: string
  readonly connections: number
  readonly body: string
}

/** How often each status was answered; `broken`: no answer. */
export type Statuses = Readonly<Record<string, number>>

/** Closed-loop load from a process of its own that takes no answer for a reason to wait. */
export class Flood {
  private constructor(private readonly child: ChildProcess) {}

  static prepare(options: FloodOptions): Flood {
    const child = fork(PROGRAM, [], { execArgv: [] })
    child.send(options)
    return new Flood(child)
  }

  async begin(): Promise<void> {
    await this.ask('begin')
  }

  /** Resolves when everything in flight is answered. */
  async pause(): Promise<Statuses> {
    return (await this.ask('pause')) as Statuses
  }

  end(): void {
    this.child.kill('SIGKILL')
  }

  private ask(word: string): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const ended = (): void => reject(new Error('the flooding process ended'))
      this.child.once('exit', ended)
      this.child.once('message', (answer) => {
        this.child.off('exit', ended)
        resolve(answer)
      })
      this.child.send(word)
    })
  }
}

/** The key of an agent in a new organization, which may read files. */
export async function keyOfStranger(replica: Replica): Promise<string> {
  const { org_id } = await replica.call<{ org_id: string }>('POST', '/organizations', { name: 'flood' })
  const there = { org_id }
  const agent = { name: 'flood', owner_team: 'flood', environment: 'prod' }
  const made = await replica.call<{ agent_id: string; api_key: string }>('POST', '/agents', agent, there)
  await replica.call('PUT', `/agents/${made.agent_id}/policy`, { allow: [{ action: 'read:file' }] }, there)
  return made.api_key
}

/** `statuses` of several pauses together. */
export function summed(all: readonly Statuses[]): Statuses {
  const sum: Record<string, number> = {}
  for (const statuses of all)
    for (const [status, count] of Object.entries(statuses)) sum[status] = (sum[status] ?? 0) + count
  return sum
}
