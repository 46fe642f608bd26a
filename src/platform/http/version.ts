import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'

export const SERVICE = 'AgentGuard'

/** The folder of package.json: one level further away from the compiled file than from the source. */
export const ROOT: string = findRoot()

export const VERSION: string = (
  JSON.parse(readFileSync(path.join(ROOT, 'package.json'), 'utf8')) as { version: string }
).version

function findRoot(): string {
  for (let folder = __dirname; ; folder = path.dirname(folder)) {
    if (existsSync(path.join(folder, 'package.json'))) return folder
    if (folder === path.dirname(folder)) throw new Error('package.json was not found beside the program')
  }
}
