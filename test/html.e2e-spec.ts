import { spawnSync } from 'node:child_process'
import { createHash, randomBytes, randomInt } from 'node:crypto'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Browser, BrowserContext, Page } from 'playwright-core'
import type { FindingKind } from '../src/core/ledger/findings.js'
import { sha256 } from '../sdk/src/html/sha256.js'
import { makeLog, MadeLog } from './support/bundle.js'
import { startBrowser, withBrowser } from './support/chromium.js'
import { type ProvenApp, startProvenApp } from './support/proofs.js'
import { buildSdk, CLI } from './support/sdk.js'

const NASTY = '</script><script>alert(1)</script><!--<img src=x onerror=alert(1)>&lt;&amp;\u2028'
const log = makeLog(1_040)
log.decide('agt_0000000000000001', { action: 'read:file', resource: NASTY, context: { [NASTY]: NASTY } })
const REDACTED = log.entries.findIndex(({ payload }, i) => i >= 200 && payload !== null)
const PAYLOAD = log.entries.findIndex(({ payload }, i) => i >= 400 && payload !== null)
const DECISION = log.entries.findIndex(({ entry }, i) => i >= 700 && entry.type === 'decision')

let folder: string
let lines: string[]
let html: string

const agentguard = (...args: readonly string[]) =>
  spawnSync(process.execPath, [CLI, ...args], {
    cwd: folder,
    encoding: 'utf8',
    env: { ...process.env, NODE_OPTIONS: '' },
  })

beforeAll(() => {
  buildSdk()
  folder = mkdtempSync(path.join(tmpdir(), 'agentguard-html-'))
  lines = [...log.lines({ redacted: new Set([REDACTED]) })]
  writeFileSync(path.join(folder, 'log.ndjson'), [...lines, ''].join('\n'))
  const made = agentguard('export', '--html', '--bundle', 'log.ndjson', '-o', 'log.html')
  expect([made.status, made.stdout]).toEqual([0, ''])
  html = readFileSync(path.join(folder, 'log.html'), 'utf8')
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

describe('agentguard export --html', () => {
  it('hashes as Node does, at every length around a block', () => {
    const lengths = [...Array.from({ length: 260 }, (_, i) => i), 4095, 4096, 70_000]
    for (const length of lengths) {
      const bytes = randomBytes(length)
      const padded = Buffer.concat([Buffer.alloc(3), bytes]).subarray(3) // not at the start of its buffer
      expect(Buffer.from(sha256(padded)).toString('hex')).toBe(
        createHash('sha256').update(bytes).digest('hex'),
      )
    }
  })

  it('forbids everything but its one program', () => {
    const [, policy = ''] = /http-equiv="Content-Security-Policy" content="([^"]*)"/.exec(html) ?? []
    expect(policy).toMatch(/^default-src 'none'; script-src 'sha256-[A-Za-z0-9+/]{43}='; base-uri 'none'; /)
    expect(policy).not.toMatch(/unsafe|eval|http|\*/)
    const shell = html.slice(0, html.indexOf('{"kind"'))
    expect(shell).not.toMatch(/\b(src|href|style)=|<style|<link/)
    expect(html.match(/<script>/g)).toHaveLength(1)
  })

  it('refuses more entries than a browser takes, and what is no whole bundle, and leaves no file', () => {
    const big = (lines[0] ?? '').replace(/"end":\d+/, '"end":100001')
    for (const [content, says] of [
      [big, '100,001 entries'],
      ['{}', 'no bundle'],
      [lines.slice(0, -1).join('\n'), 'cut off'],
    ] as const) {
      writeFileSync(path.join(folder, 'bad.ndjson'), `${content}\n`)
      const { status, stderr } = agentguard('export', '--html', '--bundle', 'bad.ndjson', '-o', 'bad.html')
      expect([status, stderr]).toEqual([2, expect.stringContaining(says)])
    }
    expect([
      existsSync(path.join(folder, 'bad.html')),
      existsSync(path.join(folder, 'bad.html.partial')),
    ]).toEqual([false, false])
    for (const args of [
      ['--bundle', 'log.ndjson', '-o', 'x'],
      ['--html', '-o', 'x'],
    ])
      expect(agentguard('export', ...args).status).toBe(2)
  })
})

withBrowser('the page in Chromium, without network', () => {
  let browser: Browser
  let context: BrowserContext
  beforeAll(async () => {
    browser = await startBrowser()
    context = await browser.newContext({ offline: true })
    context.setDefaultTimeout(120_000) // a loaded machine is slow, not wrong
  })
  afterAll(() => browser?.close())

  /** Opens a page with this content until it has a verdict. */
  async function open(
    content: string,
  ): Promise<{ page: Page; state: string | null; kinds: string[]; first: string }> {
    const file = path.join(folder, 'opened.html')
    writeFileSync(file, content)
    const page = await context.newPage()
    const asked: string[] = []
    page.on('request', (request) => asked.push(request.url()))
    page.on('dialog', (dialog) => {
      asked.push(`a dialog: ${dialog.message()}`)
      void dialog.dismiss()
    })
    const url = pathToFileURL(file).href
    await page.goto(url)
    await page.waitForFunction(() => document.querySelector('.progress') === null)
    expect(asked).toEqual([url])
    const state = await page.getAttribute('#verdict', 'data-state')
    const found = page.locator('#findings li')
    const kinds = await found.evaluateAll((items) =>
      items.map((item) => item.getAttribute('data-kind') ?? ''),
    )
    return { page, state, kinds, first: kinds.length > 0 ? ((await found.first().textContent()) ?? '') : '' }
  }

  it('is green for a good log, and shows who did what', async () => {
    const { page, state, kinds } = await open(html)
    expect([state, kinds, await page.title()]).toEqual(['good', [], log.origin])
    expect(
      await page.locator('#verdict').evaluate((header) => getComputedStyle(header).backgroundColor),
    ).toBe('rgb(17, 113, 59)')
    expect(await page.locator('tbody tr').count()).toBe(200)
    // What an agent sent is text, to the last character.
    await page.locator('input[type=search]').fill('onerror')
    expect(await page.locator('tbody tr').count()).toBe(1)
    await page.locator('tbody summary').click()
    expect(await page.locator('tbody summary').textContent()).toBe(`read:file ${NASTY}`)
    await page.locator('tbody pre').waitFor()
    expect(await page.locator('tbody pre').textContent()).toContain(log.entries.at(-1)?.text)
    expect(await page.locator('img').count()).toBe(0)

    await page.locator('input[type=search]').fill('')
    await page.locator('select').selectOption('deny')
    const verdicts = await page.locator('tbody .verdict').allTextContents()
    expect([new Set(verdicts), verdicts.length]).toEqual([new Set(['deny']), 200])
    await page.locator('select').selectOption('redacted')
    expect(await page.locator('tbody tr').getAttribute('data-index')).toBe(String(REDACTED))
    expect(await page.locator('tbody .mark').textContent()).toBe('payload erased')
    await page.locator('select').selectOption('')
    await page.getByText('older ›').click()
    expect(await page.locator('tbody tr').first().getAttribute('data-index')).toBe(String(log.size - 201))
    await page.close()
  })

  it('believes the key that the reader gives, and no other', async () => {
    const { page } = await open(html)
    const strange = new MadeLog()
    const check = async (key: string) => {
      await page.locator('.key input').fill(key)
      await page.locator('.key button').click()
    }
    await check('nonsense')
    expect(await page.locator('.key span').textContent()).toContain('verifier key')
    await check(strange.vkey)
    await page.locator('#verdict[data-state=bad]').waitFor()
    expect(await page.locator('#findings li').first().getAttribute('data-kind')).toBe('signature')
    await check(log.vkey)
    await page.locator('#verdict[data-state=good]').waitFor()
    expect(await page.locator('.key p').textContent()).toContain('that you gave')
    await page.close()
  })

  it('says so when nothing is signed', async () => {
    writeFileSync(path.join(folder, 'unsigned.ndjson'), [...log.lines({ signed: false }), ''].join('\n'))
    agentguard('export', '--html', '--bundle', 'unsigned.ndjson', '-o', 'unsigned.html')
    const { page, state } = await open(readFileSync(path.join(folder, 'unsigned.html'), 'utf8'))
    expect(state).toBe('unsigned')
    await page.close()
  })

  const lineOf = (index: number) => `{"kind":"entry","index":${index},`
  /** Changes the first place after `marker` that matches. */
  const after = (marker: string, from: RegExp | string, to: string) => (text: string) => {
    const at = text.indexOf(marker)
    return text.slice(0, at) + text.slice(at).replace(from, to)
  }
  const entryLine = (text: string, index: number) => {
    const from = text.indexOf(lineOf(index))
    return text.slice(from, text.indexOf('\n', from) + 1)
  }
  const other = (c: string) => (c === 'A' ? 'B' : 'A')
  const flip = (pattern: RegExp) => (match: string) => match.replace(pattern, other)

  const mutations: readonly [string, FindingKind | 'failed', number | null, (text: string) => string][] = [
    ['an action', 'entry_changed', DECISION, after(lineOf(DECISION), '\\"reason\\":\\"', '\\"reason\\":\\"!')],
    ['a verdict', 'entry_changed', DECISION, after(lineOf(DECISION), /\\"effect\\":\\"(allow|deny)/, '\\"effect\\":\\"pending')],
    ['a hash', 'entry_changed', 300, (text) => text.replace(entryLine(text, 300), (l) => l.replace(/"leaf":"./, flip(/.$/)))],
    ['a column', 'projection', 123, after(lineOf(123), '"action_key":"', '"action_key":"x')],
    ['the time beside it', 'projection', 124, after(lineOf(124), /"ts":"2026/, '"ts":"2025')],
    ['a payload', 'payload', PAYLOAD, after(lineOf(PAYLOAD), '"text":"{', '"text":"{ ')],
    ['a salt', 'payload', PAYLOAD, (text) => text.replace(entryLine(text, PAYLOAD), (l) => l.replace(/"salt":"./, flip(/.$/)))],
    ['a payload taken out', 'payload', PAYLOAD, (text) => text.replace(entryLine(text, PAYLOAD), (l) => l.replace(/,"payload":\{.*\}\}/, '}'))],
    ['a policy', 'policy', 2, after('{"kind":"policy"', '"document":"{', '"document":"{ ')],
    ['a digest', 'policy', 2, after('{"kind":"policy"', /"sha256":"./, '"sha256":"z')],
    ['a signature', 'signature', null, (text) => text.replace(/(— \S+ [A-Za-z0-9+/]{30})./, flip(/.$/))],
    ['the root', 'signature', null, (text) => text.replace(/(e1\\n\d+\\n)./, flip(/.$/))],
    ['the size', 'signature', null, (text) => text.replace(/(e1\\n\d+)\\n/, '$10\\n')],
    ['the key', 'malformed', null, after('{"kind":"key"', /\+[0-9a-f]/, '+x')],
    ['the end', 'truncated', null, after('{"kind":"end"', /"entries":\d/, '"entries":9')],
    ['a member', 'malformed', 77, after(lineOf(77), '"kind"', '"kinds"')],
    ['an entry taken out', 'index', 500, (text) => text.replace(entryLine(text, 500), '')],
    ['an entry twice', 'index', 501, (text) => text.replace(entryLine(text, 500), (l) => l + l)],
    ['the tail cut off', 'truncated', 900, (text) => text.replace(/\n\{"kind":"entry","index":900,[^]*(\n<\/script>\n<script>)/, '$1')],
    ['an entry with its own hash', 'root', null, (text) => text.replace(entryLine(text, DECISION), rehashed)],
    ['the program', 'failed', null, (text) => text.replace('NOT VALID', 'VALID')],
    ['the policy of the page', 'failed', null, (text) => text.replace(/'sha256-./, flip(/.$/))],
    ['a block of lines', 'malformed', null, (text) => text.replace('x-agentguard-bundle', 'x-agentguard-bundl')],
  ] // prettier-ignore

  /** As a forger would: another entry, and its true hash beside it. */
  function rehashed(line: string): string {
    const unescaped = line.replaceAll('&lt;', '<').replaceAll('&amp;', '&')
    const value = JSON.parse(unescaped) as { leaf: string; entry: string }
    value.entry = value.entry.replace('"reason":"', '"reason":"So: ')
    value.leaf = createHash('sha256').update('\0').update(value.entry).digest('base64')
    return `${JSON.stringify(value).replaceAll('&', '&amp;').replaceAll('<', '&lt;')}\n`
  }

  it.each(mutations)('is red for a file with %s changed: %s', async (_, kind, index, mutate) => {
    const changed = mutate(html)
    expect(changed === html).toBe(false)
    const { page, state, kinds, first } = await open(changed)
    if (kind === 'failed') {
      expect([state, await page.textContent('#verdict')]).toEqual(['failed', 'NOT VERIFIED'])
    } else {
      expect([state, kinds[0]]).toEqual(['bad', kind])
      if (index !== null) expect(first).toContain(`entry ${index}`)
      expect(
        await page.locator('#verdict').evaluate((header) => getComputedStyle(header).backgroundColor),
      ).toBe('rgb(179, 23, 31)')
    }
    await page.close()
  })

  it('is never green for a bundle with any one character changed', async () => {
    const begin = html.indexOf('{"kind":"manifest"')
    const end = html.lastIndexOf('\n</script>\n<script>')
    for (let i = 0; i < 10; i++) {
      let at = randomInt(begin, end)
      while (!/[A-Za-z0-9]/.test(html[at] ?? '')) at++
      // Said by the service about itself and checked by nobody: when the bundle was made, since when its key is valid.
      const line = html.slice(html.lastIndexOf('\n', at) + 1, html.indexOf('\n', at))
      if (/^\{"kind":"(manifest|key)"/.test(line)) continue
      const { page, state } = await open(
        html.slice(0, at) + (html[at] === 'x' ? 'y' : 'x') + html.slice(at + 1),
      )
      expect([at, line, state === 'bad' || state === 'failed']).toEqual([at, line, true])
      await page.close()
    }
  })

  it('is made from the service in one call', async () => {
    let proven: ProvenApp | undefined
    try {
      proven = await startProvenApp()
      await proven.decide(60)
      await proven.signed()
      const text = (await proven.root.get('/logs/export')).text
      writeFileSync(path.join(folder, 'real.ndjson'), text)
      agentguard('export', '--html', '--bundle', 'real.ndjson', '-o', 'real.html')
      const { page, state, kinds } = await open(readFileSync(path.join(folder, 'real.html'), 'utf8'))
      expect([state, kinds]).toEqual(['good', []])
      await page.locator('select').selectOption('other')
      expect(await page.locator('tbody').textContent()).toContain('agent.created')
      await page.close()
    } finally {
      await proven?.close()
    }
  })
})
