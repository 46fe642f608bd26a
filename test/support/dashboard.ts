import { spawnSync } from 'node:child_process'
import path from 'node:path'
import type { Page } from 'playwright-core'

const UI = path.join(__dirname, '../../ui')
/** The dashboard as it is served, once `buildDashboard` has run. */
export const BUILT = path.join(UI, 'out')

/** Builds the dashboard when its sources have changed since. */
export function buildDashboard(): void {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [path.join(UI, 'build.mjs'), '--if-changed'],
    { encoding: 'utf8', env: { ...process.env, NODE_OPTIONS: '' } },
  )
  if (status !== 0) throw new Error(`ui/build.mjs: ${stdout}${stderr}`)
}

/** An answer that the API means; browsers call each of them an error. */
const REFUSED = /^Failed to load resource: the server responded with a status of (401|403|404|409|422|503) /

/** What a page must never have: errors of its own, and anything that its policy refused. */
export function complaintsOf(page: Page): string[] {
  const complaints: string[] = []
  page.on('pageerror', (error) => complaints.push(error.message))
  page.on('console', (message) => {
    if (message.type() === 'error' && !REFUSED.test(message.text())) complaints.push(message.text())
  })
  return complaints
}

/** With DASHBOARD_SHOTS=<folder>, pictures for people to look at. */
export async function picture(page: Page, name: string): Promise<void> {
  const folder = process.env.DASHBOARD_SHOTS
  if (folder !== undefined) await page.screenshot({ path: path.join(folder, `${name}.png`), fullPage: true })
}
