/**
 * Everything that checking a bundle can find, and the exit code of `agentguard verify` and `agentguard replay` for it.
 * Codes are never reused: scripts compare them.
 */
export const FINDING_KINDS = {
  malformed: { exit: 10, title: 'a line is not as the format says' },
  truncated: { exit: 11, title: 'the end is missing, or lines are' },
  index: { exit: 12, title: 'an entry is missing, there twice, or in the wrong place' },
  entry_invalid: { exit: 13, title: 'an entry is not a canonical entry of this log' },
  entry_changed: { exit: 14, title: 'an entry is not the one whose hash is in the tree' },
  projection: { exit: 15, title: 'a column beside an entry says something else than the entry' },
  payload: { exit: 16, title: 'a payload is not the one that its entry commits to' },
  policy: { exit: 17, title: 'a policy is not the one that its digest names, or is missing' },
  unrecorded_erasure: { exit: 18, title: 'a payload is gone, and no entry records that it was erased' },
  answer: { exit: 19, title: 'an answer says something else than the entry of its receipt' },
  root: { exit: 20, title: 'the entries do not lead to the root that was signed' },
  signature: { exit: 21, title: 'a checkpoint is missing or not signed by a key that is trusted' },
  consistency: { exit: 22, title: 'the log does not begin with the one that an older checkpoint states' },
  versions: { exit: 30, title: 'a configuration version went back: something was decided from an old one' },
  revoked: { exit: 31, title: 'a key was allowed something after it was revoked' },
  inactive: { exit: 32, title: 'an agent was allowed something while it, or its organization, was inactive' },
  policy_stale: { exit: 33, title: 'a decision names a policy that was not the current one' },
  killed: { exit: 34, title: 'something was allowed while a kill switch had stopped it' },
  approval: { exit: 36, title: 'a decision was allowed by an approval that the log does not give' },
  lease: { exit: 37, title: 'an agent decided by itself beyond the time that it was given' },
  spool: { exit: 38, title: 'the record of what an agent decided by itself has a gap' },
  replay_differs: { exit: 40, title: 'a decision comes out differently when it is made again' },
  not_replayable: { exit: 41, title: 'a decision cannot be made again, though its payload was not erased' },
} as const

export type FindingKind = keyof typeof FINDING_KINDS

export interface Finding {
  readonly kind: FindingKind
  /** The first entry concerned; null when it is not about one entry. */
  readonly index: number | null
  /** Number of the line in the bundle, from 1; null when it is about no line. */
  readonly line: number | null
  /** The member concerned, such as `columns.allowed` or `policies[0].sha256`. */
  readonly field: string | null
  /** What was found, for people. */
  readonly detail: string
}
