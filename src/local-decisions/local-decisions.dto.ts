/** A policy document as the log keeps it. */
export class BundledPolicy {
  /** SHA-256, in hex, of `document`. */
  sha256: string

  /** Canonical JSON (RFC 8785). */
  document: string
}

/** What an agent decides from by itself. */
export class Bundle {
  /**
   * A compact JWS (RFC 7515) of type `agentguard-bundle+jws`, signed with a key of `/.well-known/jwks.json`: who the
   * agent is, the configuration versions, the digests of the policies that apply, the active kill switches, the log.
   */
  manifest: string

  /** The documents that the manifest's digests name: the agent's, its team's, the organization's. */
  policies: BundledPolicy[]
}
