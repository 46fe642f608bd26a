import { readFileSync } from 'node:fs'
import path from 'node:path'
import { parseAllowList } from './allow-list.js'
import { mayConnect, readDestination } from './destination.js'

const CASES = readFileSync(path.join(__dirname, 'testdata', 'destinations.txt'), 'utf8')
  .split('\n')
  .filter((line) => line !== '' && !line.startsWith('# '))
  .map((line) => line.split(' '))

/** The verdict as `Outbound.post` arrives at it, without connecting. */
function verdict(url: string, resolved: string, allow: string): string {
  const list = parseAllowList(allow === '-' ? [] : allow.split(','))
  const destination = readDestination(url, list)
  if (typeof destination === 'string') return destination
  const addresses = destination.literal
    ? [destination.literal.toString()]
    : resolved === 'none'
      ? []
      : resolved.split(',')
  return mayConnect(destination, addresses, list) ? 'reachable' : 'address'
}

it('knows at least 400 cases, of which some are reachable', () => {
  expect(CASES.length).toBeGreaterThanOrEqual(400)
  expect(CASES.filter(([wanted]) => wanted === 'reachable').length).toBeGreaterThan(50)
  expect(CASES.every((fields) => fields.length === 4)).toBe(true)
})

it.each(CASES)('%s: %s resolving to %s with %s', (wanted, url, resolved, allow) => {
  expect(verdict(url ?? '', resolved ?? '', allow ?? '')).toBe(wanted)
})

it('refuses a list that is not understood, instead of reading it as a name', () => {
  const { wrong } = parseAllowList([
    '10.0.0.0/33',
    '10.0.0/8',
    '0x0a.0.0.1',
    '::1/129',
    'a/8',
    '*',
    'a b',
    '1.2.3.4.5',
  ])
  expect(wrong).toEqual(['10.0.0.0/33', '10.0.0/8', '0x0a.0.0.1', '::1/129', 'a/8', '*', 'a b', '1.2.3.4.5'])
})
