import { encodeBase64 } from '../../../src/core/ledger/base64.js'
import type { VerifierKey, VerifyEd25519 } from '../../../src/core/ledger/note.js'
import { BundleVerifier, type VerifyTools } from '../../../src/core/ledger/verify.js'
import { sha256 } from './sha256.js'

interface Asked {
  readonly key: Uint8Array
  readonly message: Uint8Array
  readonly signature: Uint8Array
}

const encoder = new TextEncoder()
const utf8 = (text: string): Uint8Array => encoder.encode(text)

/**
 * The verifier needs Ed25519 answered at once, WebCrypto answers later. So the head of the bundle is read twice: first
 * to see what will be asked, and, when WebCrypto has answered all of it, for good.
 * @param head the lines before the first entry, which hold every signature
 */
export async function toolsFor(head: readonly string[], keys: readonly VerifierKey[]): Promise<VerifyTools> {
  const asked: Asked[] = []
  const listen: VerifyEd25519 = (key, message, signature) => asked.push({ key, message, signature }) > 0
  const first = new BundleVerifier({ sha256, utf8, verify: listen }, { keys })
  for (const line of head) first.line(line)
  const answers = new Map<string, boolean>()
  for (const one of asked) answers.set(nameOf(one), await verifyEd25519(one))
  return {
    sha256,
    utf8,
    verify: (key, message, signature) => answers.get(nameOf({ key, message, signature })) ?? false,
  }
}

const nameOf = ({ key, message, signature }: Asked): string =>
  [key, message, signature].map(encodeBase64).join(' ')

/** @throws Error where the browser has no Ed25519: not the same as a signature that is wrong */
async function verifyEd25519({ key, message, signature }: Asked): Promise<boolean> {
  let imported: CryptoKey
  try {
    imported = await crypto.subtle.importKey('raw', new Uint8Array(key), 'Ed25519', false, ['verify'])
  } catch (error) {
    if (error instanceof DOMException && error.name === 'DataError') return false // no point of the curve
    throw new Error('This browser cannot check Ed25519 signatures: use a newer one.')
  }
  return crypto.subtle.verify('Ed25519', imported, new Uint8Array(signature), new Uint8Array(message))
}
