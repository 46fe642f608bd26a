import { payloadOf } from '../../src/core/ledger/bundle.js'
import type { DecisionEntry, EntryDecision } from '../../src/core/ledger/entry.js'
import { FINDING_KINDS } from '../../src/core/ledger/findings.js'
import type { Checked } from '../../src/core/ledger/verify.js'
import type { CompiledPolicy } from '../../src/core/policy/compile.js'
import {
  compileRecorded,
  type NotReplayable,
  type Replay,
  replayDecision,
} from '../../src/core/policy/replay.js'
import { checkBundle } from './check.js'
import { UsageError } from './usage.js'
import { describeVerdict, exitCodeOf, type VerifyArguments } from './verify.command.js'

export interface ReplayArguments extends VerifyArguments {
  /** Only this decision. */
  readonly log_id: string | undefined
}

/** What one decision came to, when it did not come out the same. */
interface Outcome {
  readonly index: number
  readonly log_id: string
  readonly outcome: 'differs' | NotReplayable
  readonly fields?: readonly string[]
  readonly recorded?: EntryDecision
  readonly replayed?: EntryDecision | null
  readonly detail?: string
}

const MOST_OUTCOMES = 20

/**
 * `agentguard replay`: checks the bundle as `verify` does, and makes every decision of it again.
 * @returns the code of the first finding of the check; else 40 when a decision differs; else 41 when one could not be
 * made again though its payload was not erased; else 0
 */
export async function replayCommand(given: ReplayArguments): Promise<number> {
  const replayer = new Replayer(given.log_id)
  const verdict = await checkBundle(given.bundle, { ...given, each: (checked) => replayer.take(checked) })
  const { same, differs, redacted, not_replayable, outcomes } = replayer
  if (given.log_id !== undefined && replayer.found === 0 && verdict.valid)
    throw new UsageError(`The bundle has no decision ${given.log_id}.`)
  const exit_code =
    exitCodeOf(verdict) ||
    (differs > 0 ? FINDING_KINDS.replay_differs.exit : 0) ||
    (not_replayable > 0 ? FINDING_KINDS.not_replayable.exit : 0)
  const counts = { same, differs, redacted, not_replayable }
  process.stdout.write(
    given.json
      ? `${JSON.stringify({ verdict, replay: { ...counts, outcomes }, exit_code }, null, 2)}\n`
      : describeVerdict(verdict) + describeReplay(counts, outcomes),
  )
  return exit_code
}

class Replayer {
  same = 0
  differs = 0
  /** Payload erased: lawful. */
  redacted = 0
  not_replayable = 0
  found = 0
  readonly outcomes: Outcome[] = []
  private readonly documents = new Map<string, string>()
  private readonly compiled = new Map<string, CompiledPolicy | null>()

  constructor(private readonly log_id: string | undefined) {}

  take(checked: Checked): void {
    const { line } = checked
    if (line.kind === 'policy') this.documents.set(line.sha256, line.document)
    if (line.kind !== 'entry' || !('entry' in checked)) return
    const { entry, faults } = checked.entry
    if (entry?.type !== 'decision' || (this.log_id !== undefined && entry.id !== this.log_id)) return
    this.found++
    const payload = !line.payload ? 'none' : 'redacted' in line.payload ? 'redacted' : payloadOf(line)
    // What is not the entry that was written, or its payload, is a finding already.
    if (payload === null || faults.length > 0) return
    // `readEntry` has seen the members that are needed; the rest only ever make a decision differ.
    const decision = entry as unknown as DecisionEntry
    this.count(
      line.index,
      decision,
      replay(decision, payload, (sha256) => this.policy(sha256)),
    )
  }

  private count(index: number, entry: DecisionEntry, replayed: Replay): void {
    const named = { index, log_id: entry.id }
    switch (replayed.outcome) {
      case 'same':
        this.same++
        return
      case 'differs':
        this.differs++
        return this.keep({
          ...named,
          outcome: 'differs',
          fields: replayed.fields,
          recorded: entry.decision,
          replayed: replayed.decision,
        })
      case 'not_replayable':
        if (replayed.why === 'redacted') this.redacted++
        else this.not_replayable++
        return this.keep({ ...named, outcome: replayed.why, detail: replayed.detail })
    }
  }

  private keep(outcome: Outcome): void {
    if (this.outcomes.length < MOST_OUTCOMES) this.outcomes.push(outcome)
  }

  private policy(sha256: string): CompiledPolicy | null {
    const known = this.compiled.get(sha256)
    if (known !== undefined) return known
    const document = this.documents.get(sha256)
    const compiled = document === undefined ? null : compileRecorded(document)
    this.compiled.set(sha256, compiled)
    return compiled
  }
}

function replay(...given: Parameters<typeof replayDecision>): Replay {
  try {
    return replayDecision(...given)
  } catch (error) {
    return { outcome: 'not_replayable', why: 'entry', detail: `the entry cannot be read: ${String(error)}` }
  }
}

function describeReplay(
  {
    same,
    differs,
    redacted,
    not_replayable,
  }: Record<'same' | 'differs' | 'redacted' | 'not_replayable', number>,
  outcomes: readonly Outcome[],
): string {
  const lines = [
    `Replay   ${same.toLocaleString('en')} the same, ${differs} different, ${not_replayable} not replayable, ` +
      `${redacted} not replayable because erased`,
  ]
  for (const { index, log_id, outcome, fields, recorded, replayed, detail } of outcomes) {
    const what =
      outcome === 'differs'
        ? `${fields?.join(', ') ?? ''}: recorded ${recorded?.effect} (${recorded?.reason}), replayed ${replayed?.effect} (${replayed?.reason})`
        : (detail ?? '')
    lines.push(`${outcome === 'differs' ? 'DIFFERS ' : 'NOT     '} entry ${index} (${log_id}): ${what}`)
  }
  return `${lines.join('\n')}\n`
}
