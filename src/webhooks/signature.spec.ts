import { createHmac } from 'node:crypto'
import { verifyStandardWebhook } from '../../test/support/receiver.js'
import { makeSecret, signatureHeaders } from './signature.js'

/** The example of the Standard Webhooks specification and of its reference libraries. */
const VECTOR = {
  secret: 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw',
  id: 'msg_p5jXN8AQM9LWM0D4loKWxJek',
  timestamp: 1614265330,
  body: '{"test": 2432232314}',
  signature: 'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=',
}

it('signs the published example with the published signature', () => {
  const { id, timestamp, body, secret, signature } = VECTOR
  expect(signatureHeaders(id, timestamp, body, [secret])).toMatchObject({
    'webhook-id': id,
    'webhook-timestamp': '1614265330',
    'webhook-signature': signature,
  })
  expect(
    verifyStandardWebhook(secret, signatureHeaders(id, timestamp, body, [secret]), body, timestamp),
  ).toBe(true)
})

it('is verified by either secret of a rotation, and by nothing else', () => {
  const secrets = [makeSecret(), makeSecret()]
  const headers = signatureHeaders('id', 1_700_000_000, '{}', secrets)
  expect(secrets.map((secret) => verifyStandardWebhook(secret, headers, '{}', 1_700_000_000))).toEqual([
    true,
    true,
  ])
  expect(verifyStandardWebhook(makeSecret(), headers, '{}', 1_700_000_000)).toBe(false)
  expect(verifyStandardWebhook(secrets[0]!, headers, '{ }', 1_700_000_000)).toBe(false)
  expect(verifyStandardWebhook(secrets[0]!, { ...headers, 'webhook-id': 'di' }, '{}', 1_700_000_000)).toBe(
    false,
  )
  expect(verifyStandardWebhook(secrets[0]!, headers, '{}', 1_700_000_301)).toBe(false)
})

it('keeps the older header with the older secret', () => {
  const secrets = [makeSecret(), makeSecret()]
  const wanted = createHmac('sha256', secrets[0]!).update('{"a":1}').digest('hex')
  expect(signatureHeaders('id', 1, '{"a":1}', secrets)['x-agentguard-signature']).toBe(`sha256=${wanted}`)
})

it('makes secrets of 32 random bytes', () => {
  expect(makeSecret()).toMatch(/^whsec_[A-Za-z0-9+/]{43}=$/)
  expect(makeSecret()).not.toBe(makeSecret())
})
