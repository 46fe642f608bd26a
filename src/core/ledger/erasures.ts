/**
 * Payloads that are missing, held against the entries that record an erasure: one that nobody recorded was not erased
 * but removed. Memory grows with payloads that were erased and not yet accounted for: one number each.
 */
import type { RedactionEntry } from './entry.js'

export class Erasures {
  /** Indexes in ascending order, by agent ('' for none). */
  private readonly missing = new Map<string, number[]>()

  /** An entry whose payload is gone. Indexes come in ascending order. */
  lost(index: number, agent_id: string | null): void {
    const agent = agent_id ?? ''
    const indexes = this.missing.get(agent)
    if (indexes) indexes.push(index)
    else this.missing.set(agent, [index])
  }

  /** An entry that records an erasure: accounts for what was lost before it. */
  recorded({ from, upto, agent_id }: RedactionEntry['redaction']): void {
    for (const agent of agent_id === undefined ? [...this.missing.keys()] : [agent_id]) {
      const indexes = this.missing.get(agent)
      if (!indexes) continue
      const first = placeOf(indexes, from)
      indexes.splice(first, placeOf(indexes, upto + 1) - first)
      if (indexes.length === 0) this.missing.delete(agent)
    }
  }

  /** The lowest index whose payload is gone though no entry says why; null when all are accounted for. */
  get first_unrecorded(): number | null {
    let lowest: number | null = null
    for (const [first] of this.missing.values()) {
      if (first !== undefined && (lowest === null || first < lowest)) lowest = first
    }
    return lowest
  }
}

/** Where `index` is, or would be, in an ascending list. */
function placeOf(indexes: readonly number[], index: number): number {
  let low = 0
  let high = indexes.length
  while (low < high) {
    const middle = (low + high) >> 1
    if ((indexes[middle] ?? 0) < index) low = middle + 1
    else high = middle
  }
  return low
}
