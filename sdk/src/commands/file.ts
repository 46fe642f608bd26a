import { readFileSync } from 'node:fs'
import { UsageError } from '../usage.js'

const MAX_BYTES = 16 * 1024 * 1024

/** A JSON or YAML file, or standard input (`-`). @throws UsageError naming the place of a mistake */
export async function readDocument(path: string): Promise<unknown> {
  const text = readTextFile(path)
  const shown = path === '-' ? 'Standard input' : path
  if (text.trim() === '') throw new UsageError(`${shown} is empty.`)
  // YAML 1.2 contains JSON; its reader also refuses a member that is given twice, which JSON.parse lets the last win.
  const { parseDocument } = await import('yaml')
  const document = parseDocument(text, { version: '1.2', uniqueKeys: true, strict: true, merge: false })
  const [mistake] = [...document.errors, ...document.warnings]
  if (mistake)
    throw new UsageError(
      `${shown}: ${mistake.message.split('\n')[0]?.replace(/:$/, '') ?? 'cannot be read'}.`,
    )
  try {
    return document.toJS({ maxAliasCount: 100 }) as unknown
  } catch (error) {
    throw new UsageError(`${shown}: ${error instanceof Error ? error.message : String(error)}`)
  }
}

function readTextFile(path: string): string {
  let bytes: Buffer
  try {
    bytes = readFileSync(path === '-' ? 0 : path)
  } catch {
    throw new UsageError(`${path === '-' ? 'Standard input' : path} cannot be read.`)
  }
  if (bytes.length > MAX_BYTES) throw new UsageError(`${path} is larger than ${MAX_BYTES} bytes.`)
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    throw new UsageError(`${path === '-' ? 'Standard input' : path} is not UTF-8.`)
  }
}
