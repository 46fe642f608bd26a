import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'

export const SERVICE = 'AgentGuard'

/** The version in package.json: one level further away from the compiled file than from the source. */
export const VERSION: string = readVersion()

function readVersion(): string {
  for (let folder = __dirname; ; folder = path.dirname(folder)) {
    const file = path.join(folder, 'package.json')
    if (existsSync(file)) return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version
    if (folder === path.dirname(folder)) throw new Error('package.json was not found beside the program')
  }
}
