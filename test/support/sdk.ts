import { spawnSync } from 'node:child_process'
import path from 'node:path'

export const SDK = path.join(__dirname, '../../sdk')
/** The command `agentguard`, once `buildSdk` has run. */
export const CLI = path.join(SDK, 'dist/cli.js')

/** The package as it is published, built when its sources have changed since. */
export function buildSdk(): void {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [path.join(SDK, 'build.mjs'), '--if-changed'],
    {
      encoding: 'utf8',
      env: { ...process.env, NODE_OPTIONS: '' },
    },
  )
  if (status !== 0) throw new Error(`sdk/build.mjs: ${stdout}${stderr}`)
}
