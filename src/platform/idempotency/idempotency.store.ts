/** Whose key it is: keys of two principals never meet. */
export interface IdempotencyScope {
  readonly org_id: string
  readonly principal: string
  readonly key: string
}

/** The kept answer; secrets in `body` are null already. */
export interface KeptAnswer {
  readonly status: number
  readonly body: unknown
}

export type Claim =
  | { readonly state: 'claimed' }
  | { readonly state: 'in_progress' }
  | { readonly state: 'conflict' }
  | ({ readonly state: 'kept' } & KeptAnswer)

/** Remembers first answers (draft-ietf-httpapi-idempotency-key-header). */
export abstract class IdempotencyStore {
  /**
   * Takes the key for this request, atomically: of several at once exactly one gets `claimed`.
   * An unfinished claim ends by itself at `claim_until`, for the process that died with it.
   */
  abstract claim(
    scope: IdempotencyScope,
    fingerprint: Uint8Array,
    now: Date,
    claim_until: Date,
  ): Promise<Claim>

  /** Keeps the answer of a claimed request until `keep_until`. */
  abstract keep(scope: IdempotencyScope, answer: KeptAnswer, keep_until: Date): Promise<void>

  /** Gives the key back: the request failed and may be tried again. */
  abstract release(scope: IdempotencyScope): Promise<void>
}
