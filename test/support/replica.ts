import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { closeSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

const ROOT = path.join(__dirname, '..', '..')
const START_TIMEOUT_MS = 60_000

/** The same for every replica of a run: they are one service. */
export const ADMIN_KEY = 'root-key-of-the-fault-tests-0123456789abcdef'
const LEDGER_KEK = randomBytes(32).toString('base64')

export interface ReplicaOptions {
  readonly database_url: string
  /** Files that Node loads before the service: faults that live inside the process. */
  readonly preload?: readonly string[]
  readonly env?: Readonly<Record<string, string>>
}

/** The real service as a process of its own. It keeps its port over restarts. */
export class Replica {
  private child: ChildProcess | undefined
  private exited: Promise<number | null> = Promise.resolve(null)
  private readonly folder = mkdtempSync(path.join(tmpdir(), 'agentguard-replica-'))

  private constructor(
    readonly port: number,
    private readonly options: ReplicaOptions,
  ) {}

  static async start(options: ReplicaOptions): Promise<Replica> {
    const replica = new Replica(await freePort(), options)
    await replica.start()
    return replica
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`
  }

  get pid(): number {
    return this.child?.pid ?? 0
  }

  /** The most memory it has had so far, in MiB. Linux only. */
  get peak_mib(): number {
    const status = readFileSync(`/proc/${this.pid}/status`, 'utf8')
    return Number(/VmHWM:\s+(\d+)/.exec(status)?.[1]) / 1024
  }

  get isRunning(): boolean {
    return this.child?.exitCode === null && this.child.signalCode === null
  }

  /** Everything the service has written so far. */
  get log(): string {
    return readFileSync(this.logFile, 'utf8')
  }

  /** @returns milliseconds until it was ready */
  async start(): Promise<number> {
    const began = performance.now()
    const preload = (this.options.preload ?? []).flatMap((file) => ['--require', path.join(ROOT, file)])
    const output = openSync(this.logFile, 'a')
    const main = path.join(build(), 'src', 'main.js')
    const child = spawn(process.execPath, [...limits(), ...preload, main], {
      cwd: this.folder,
      env: {
        PATH: process.env.PATH ?? '',
        AGENTGUARD_BUILD: build(),
        HOST: '127.0.0.1',
        PORT: String(this.port),
        DATABASE_URL: this.options.database_url,
        DATA_DIR: path.join(this.folder, 'data'),
        ADMIN_API_KEY: ADMIN_KEY,
        LEDGER_KEK,
        LOG_LEVEL: 'warn',
        RATE_LIMIT_ENABLED: 'false',
        ...this.options.env,
      },
      stdio: ['ignore', output, output],
    })
    closeSync(output)
    this.child = child
    this.exited = new Promise((resolve) => child.once('exit', (code) => resolve(code)))
    // A test that is stopped must not leave its replicas behind.
    const end = (): void => void child.kill('SIGKILL')
    process.once('exit', end)
    child.once('exit', () => process.off('exit', end))
    await this.untilReady()
    return performance.now() - began
  }

  /** Resolves when it says that it is ready. */
  async untilReady(timeout_ms = START_TIMEOUT_MS): Promise<number> {
    const began = performance.now()
    while (performance.now() - began < timeout_ms) {
      if (!this.isRunning) throw new Error(`the replica ended: ${this.log.slice(-2_000)}`)
      const ready = await fetch(`${this.url}/health/ready`, { signal: AbortSignal.timeout(3_000) }).then(
        async (response) => (await response.text(), response.ok),
        () => false,
      )
      if (ready) return performance.now() - began
      await sleep(25)
    }
    throw new Error(`the replica was not ready within ${timeout_ms} ms: ${this.log.slice(-2_000)}`)
  }

  /** `kill -9`. */
  async kill(): Promise<void> {
    this.child?.kill('SIGKILL')
    await this.exited
  }

  /** SIGTERM. @returns its exit code and how long it took */
  async terminate(): Promise<{ code: number | null; ms: number }> {
    const began = performance.now()
    this.child?.kill('SIGTERM')
    return { code: await this.exited, ms: performance.now() - began }
  }

  async remove(): Promise<void> {
    await this.kill()
    rmSync(this.folder, { recursive: true, force: true })
  }

  /** Sends JSON as the root key, to the default organization or another. */
  async call<T = Record<string, unknown>>(
    method: string,
    route: string,
    body?: unknown,
    { org_id }: { org_id?: string } = {},
  ): Promise<T> {
    const response = await fetch(this.url + route, {
      method,
      headers: {
        'x-admin-key': ADMIN_KEY,
        ...(org_id === undefined ? {} : { 'x-org-id': org_id }),
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(15_000),
    })
    const text = await response.text()
    if (!response.ok) throw new Error(`${method} ${route}: ${response.status} ${text}`)
    return (text === '' ? {} : JSON.parse(text)) as T
  }

  private get logFile(): string {
    return path.join(this.folder, 'service.log')
  }
}

/** What `npm start` says to Node before the program. */
function limits(): string[] {
  const { scripts } = JSON.parse(readFileSync(path.join(ROOT, 'package.json'), 'utf8')) as {
    scripts: { start: string }
  }
  return scripts.start.split(' ').slice(1, -1)
}

let built: string | undefined

/** The folder of the compiled service: `dist` when it is newer than every source file, else one of our own. */
function build(): string {
  return (built ??= process.env.AGENTGUARD_BUILD ?? (isFresh() ? path.join(ROOT, 'dist') : compile()))
}

function isFresh(): boolean {
  const main = statSync(path.join(ROOT, 'dist', 'src', 'main.js'), { throwIfNoEntry: false })
  if (!main) return false
  const sources = ['src', 'prisma'].flatMap((folder) =>
    readdirSync(path.join(ROOT, folder), { recursive: true, encoding: 'utf8' }).map((file) =>
      path.join(ROOT, folder, file),
    ),
  )
  return sources
    .filter((file) => file.endsWith('.ts'))
    .every((file) => statSync(file).mtimeMs <= main.mtimeMs)
}

function compile(): string {
  const folder = path.join(ROOT, 'node_modules', '.cache', 'agentguard-replicas')
  const tsc = path.join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc')
  // The Swagger plugin of `nest build` only adds documentation: plain TypeScript makes the same service.
  execFileSync(process.execPath, [tsc, '-p', 'tsconfig.json', '--incremental', 'false', '--outDir', folder], {
    cwd: ROOT,
    stdio: 'pipe',
  })
  return folder
}

export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer()
    probe.once('error', reject)
    probe.listen(0, '127.0.0.1', () => {
      const { port } = probe.address() as AddressInfo
      probe.close(() => resolve(port))
    })
  })
}
