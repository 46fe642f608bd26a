/**
 * `@agentguard/sdk/verify`: check a log without trusting the service that wrote it. The same pure code as
 * `agentguard verify`; the cryptography is Node's (also in Deno and Bun).
 */
export { FINDING_KINDS, type Finding, type FindingKind } from '../../src/core/ledger/findings.js'
export { parseVerifierKey, type VerifierKey } from '../../src/core/ledger/note.js'
export { BundleVerifier, type Checked, type Verdict } from '../../src/core/ledger/verify.js'
export { TOOLS } from './crypto.js'
