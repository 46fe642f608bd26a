import { existsSync } from 'node:fs'
import { type Browser, chromium } from 'playwright-core'

const PLACES = [
  process.env.CHROMIUM,
  '/usr/bin/chromium',
  '/usr/bin/chromium-browser',
  '/usr/bin/google-chrome',
]

/** A real browser on this machine; undefined where there is none, which is said aloud. */
export const CHROMIUM = PLACES.find((place) => place !== undefined && existsSync(place))

/** `describe`, or skipped with a line that nobody overlooks. */
export function withBrowser(what: string, tests: () => void): void {
  if (CHROMIUM !== undefined) return describe(what, tests)
  process.stderr.write(
    `\nSKIPPED, because no Chromium was found (apt-get install chromium, or CHROMIUM=…): ${what}\n`,
  )
  describe.skip(what, tests)
}

export const startBrowser = (): Promise<Browser> =>
  chromium.launch({
    ...(CHROMIUM !== undefined && { executablePath: CHROMIUM }),
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  })
