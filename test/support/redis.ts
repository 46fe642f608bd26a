import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect } from 'node:net'
import { freePort } from './replica'

const BINARIES = ['redis-server', 'valkey-server']

/** A Redis or Valkey of this machine (Debian: `apt-get install redis-server`); null when there is none. */
export function findRedis(): string | null {
  const found = BINARIES.find((name) => spawnSync(name, ['--version']).status === 0)
  if (found === undefined)
    process.stderr.write(
      'SKIPPED: there is no redis-server here (apt-get install redis-server), so shared limits are not tested\n',
    )
  return found ?? null
}

/** A server that keeps nothing on disk; it keeps its port over restarts. */
export class TestRedis {
  private child: ChildProcess | undefined

  private constructor(
    private readonly binary: string,
    readonly port: number,
  ) {}

  static async reserve(binary: string): Promise<TestRedis> {
    return new TestRedis(binary, await freePort())
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`
  }

  async start(): Promise<void> {
    const options = ['--port', String(this.port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no']
    const child = spawn(this.binary, options, { stdio: 'ignore' })
    this.child = child
    const end = (): void => void child.kill('SIGKILL')
    process.once('exit', end)
    child.once('exit', () => process.off('exit', end))
    for (let left = 200; !(await answers(this.port)); left--) {
      if (left === 0) throw new Error('redis-server did not start')
      await sleep(25)
    }
  }

  /** Stands still: what is sent to it is taken by the kernel and answered by nobody. */
  stall(): Promise<void> {
    this.child?.kill('SIGSTOP')
    return Promise.resolve()
  }

  goOn(): Promise<void> {
    this.child?.kill('SIGCONT')
    return Promise.resolve()
  }

  /** `kill -9`: what it knew is gone. */
  async kill(): Promise<void> {
    const { child } = this
    if (!child) return
    const exited = new Promise((resolve) => child.once('exit', resolve))
    child.kill('SIGKILL')
    await exited
    this.child = undefined
  }
}

const answers = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.destroy()
      resolve(true)
    })
    socket.on('error', () => resolve(false))
  })
