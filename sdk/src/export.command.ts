import { createReadStream, createWriteStream, readFileSync, renameSync, rmSync } from 'node:fs'
import { Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { htmlOf } from './html.command.js'
import { Progress } from './progress.js'
import { UsageError } from './usage.js'

export interface ExportArguments {
  /** Of the service; undefined when there is a bundle already. */
  readonly url: string | undefined
  /** A bundle to make a page of, instead of asking the service. */
  readonly bundle: string | undefined
  readonly html: boolean
  readonly admin_key: string | undefined
  readonly admin_key_file: string | undefined
  readonly org_id: string | undefined
  readonly from: string | undefined
  readonly to: string | undefined
  readonly format: string
  readonly output: string
}

/** How much of the end is kept to see whether the bundle is whole: the line "end" is far shorter. */
const TAIL_BYTES = 1024

/** `agentguard export`: streams the log into a file, which appears under its name only when it is whole. */
export async function exportCommand(given: ExportArguments): Promise<number> {
  const { html, format, output, bundle } = given
  if (html && format !== 'ndjson')
    throw new UsageError('--html makes its page of a bundle: leave --format out.')
  if (bundle !== undefined && !html) throw new UsageError('--bundle is for --html.')
  const source = bundle ?? (await download(given))
  const progress = new Progress('Exporting')
  let bytes = 0
  let tail = Buffer.alloc(0)
  const watch = new Transform({
    transform(chunk: Buffer, _, done) {
      bytes += chunk.length
      tail = Buffer.concat([tail, chunk]).subarray(-TAIL_BYTES)
      progress.show(null, `${(bytes / 1e6).toFixed(1)} MB`)
      done(null, chunk)
    },
  })
  const partial = `${output}.partial`
  const target = output === '-' ? process.stdout : createWriteStream(partial)
  try {
    const content = html ? htmlOf(source) : openBytes(source)
    await pipeline(content, watch, target, { end: output !== '-' })
    if (format === 'ndjson' && !html && !/(^|\n)\{"kind":"end",[^\n]*\}\n$/.test(tail.toString()))
      throw new UsageError('The export has no last line: it was cut off. Try again.')
  } catch (error) {
    if (output !== '-') rmSync(partial, { force: true })
    if (error instanceof UsageError) throw error
    throw new UsageError(`The export was cut off: ${String(error)}. Nothing was kept; try again.`)
  } finally {
    progress.clear()
  }
  if (output !== '-') {
    renameSync(partial, output)
    process.stderr.write(`${output}: ${(bytes / 1e6).toFixed(1)} MB\n`)
  }
  return 0
}

type Bytes = AsyncIterable<Uint8Array>

const openBytes = (source: string | Bytes): Bytes =>
  typeof source === 'string' ? createReadStream(source) : source

async function download({ url = '', org_id, from, to, format, ...keys }: ExportArguments): Promise<Bytes> {
  const query = new URLSearchParams({
    format,
    ...(from !== undefined && { start_time: from }),
    ...(to !== undefined && { end_time: to }),
  })
  const response = await ask(`${url.replace(/\/+$/, '')}/v1/logs/export?${query.toString()}`, {
    'X-Admin-Key': adminKey(keys),
    ...(org_id !== undefined && { 'X-Org-ID': org_id }),
  })
  const body: Bytes | null = response.body
  if (!response.ok || !body) throw new UsageError(await problemOf(response))
  return body
}

async function ask(url: string, headers: Record<string, string>): Promise<Response> {
  try {
    return await fetch(url, { headers })
  } catch (error) {
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause.message : String(error)
    throw new UsageError(`${url} cannot be reached: ${cause}`)
  }
}

async function problemOf(response: Response): Promise<string> {
  const text = await response.text()
  try {
    const { detail } = JSON.parse(text) as { detail?: unknown }
    if (typeof detail === 'string') return `The server answers ${response.status}: ${detail}`
  } catch {
    // Not a problem document: some proxy.
  }
  return `The server answers ${response.status}.`
}

function adminKey({
  admin_key,
  admin_key_file,
}: Pick<ExportArguments, 'admin_key' | 'admin_key_file'>): string {
  const key =
    admin_key ?? (admin_key_file === undefined ? process.env.AGENTGUARD_ADMIN_KEY : readKey(admin_key_file))
  if (!key) throw new UsageError('Give --admin-key-file, --admin-key, or AGENTGUARD_ADMIN_KEY.')
  return key
}

function readKey(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim()
  } catch {
    throw new UsageError(`The file ${path} cannot be read.`)
  }
}
