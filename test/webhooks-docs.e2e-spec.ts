import * as crypto from 'node:crypto'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { runInThisContext } from 'node:vm'
import { makeSecret, signatureHeaders } from '../src/webhooks/signature.js'

const PAGE = readFileSync(path.join(__dirname, '..', 'docs', 'webhooks.md'), 'utf8')

type Verify = (secret: string, headers: Record<string, string>, body: string) => boolean

/** The code of the page as a reader would copy it. */
function documented(): Verify {
  const code = /```js\n([\s\S]*?)```/.exec(PAGE)?.[1] ?? ''
  const [, names, module] = /^import (\{.*\}) from '(.*)'/.exec(code) ?? []
  if (module !== 'node:crypto') throw new Error('the page imports something else')
  const body = code.replace(/^import .*$/m, '').replace('export function', 'return function')
  const make = runInThisContext(`(${names ?? ''}) => {${body}}`) as (module: object) => Verify
  return make(crypto)
}

it('the verification of docs/webhooks.md accepts what we send, and nothing else', () => {
  const verify = documented()
  const [secret, other] = [makeSecret(), makeSecret()]
  const body = '{"type":"decision.made"}'
  const now = Math.floor(Date.now() / 1000)
  const headers = signatureHeaders('id', now, body, [secret])
  expect(verify(secret, headers, body)).toBe(true)
  expect(verify(secret, signatureHeaders('id', now, body, [other, secret]), body)).toBe(true)
  expect(verify(other, headers, body)).toBe(false)
  expect(verify(secret, headers, `${body} `)).toBe(false)
  expect(verify(secret, { ...headers, 'webhook-id': 'x' }, body)).toBe(false)
  expect(verify(secret, signatureHeaders('id', now - 600, body, [secret]), body)).toBe(false)
  expect(verify(secret, { ...headers, 'webhook-timestamp': 'soon' }, body)).toBe(false)
})
