import { createHmac, randomBytes } from 'node:crypto'

export const SECRET_PREFIX = 'whsec_'
/** Standard Webhooks asks for 24 to 64. */
const SECRET_BYTES = 32

/** A new signing secret: `whsec_` and base64 of 32 random bytes. */
export const makeSecret = (): string => SECRET_PREFIX + randomBytes(SECRET_BYTES).toString('base64')

/**
 * The headers that prove where a message is from: Standard Webhooks (HMAC-SHA256 of `id.timestamp.body` with each
 * active secret) and beside it the older AgentGuard header (row AG-84), HMAC-SHA256 of the body alone.
 * @param secrets active ones, oldest first. The older header holds one signature: it stays with the oldest secret until
 *   that expires, so that a receiver which knows one secret only can change it at any time of the overlap.
 */
export function signatureHeaders(
  id: string,
  timestamp_s: number,
  body: string,
  secrets: readonly string[],
): Record<string, string> {
  const signed = `${id}.${timestamp_s}.${body}`
  const [oldest] = secrets
  if (oldest === undefined) throw new Error('a message cannot be signed without a secret')
  return {
    'webhook-id': id,
    'webhook-timestamp': String(timestamp_s),
    'webhook-signature': secrets.map((secret) => `v1,${hmac(keyOf(secret), signed, 'base64')}`).join(' '),
    'x-agentguard-signature': `sha256=${hmac(Buffer.from(oldest), body, 'hex')}`,
  }
}

const keyOf = (secret: string): Buffer => Buffer.from(secret.slice(SECRET_PREFIX.length), 'base64')
const hmac = (key: Buffer, text: string, encoding: 'base64' | 'hex'): string =>
  createHmac('sha256', key).update(text).digest(encoding)
