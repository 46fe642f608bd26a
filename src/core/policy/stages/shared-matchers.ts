import { ok, type Result } from '../../result.js'
import { compileAllowAction, compileDenyAction, compileResource } from '../pattern.js'

/** A matcher and the text it was made from: who keeps this text keeps no copy of it. */
export interface Shared<M> {
  readonly source: string
  readonly matcher: M
}

/** Longer texts are rarely written twice, and matchers of texts with `?` or `[…]` are large. */
const OFTEN = /^[^?[]{1,128}$/
/** Texts remembered of each kind, in each of two generations. */
const MAX_KEPT = 4_096

/**
 * Agents are told the same things: their policies say `read:file` thousands of times. A matcher depends on nothing but
 * its text and never changes, so all rules of one text have the same one: that saves each of them some 500 bytes, and
 * most of the time that compiling a policy takes.
 *
 * Two generations, so that it forgets without counting uses: when the young one is full it becomes the old one, and
 * what is asked for again moves back. What is forgotten lives on in the rules that hold it.
 */
export class SharedMatchers<M> {
  private young = new Map<string, Shared<M>>()
  private old: ReadonlyMap<string, Shared<M>> = new Map()

  constructor(
    private readonly compile: (source: string) => Result<M, string>,
    private readonly max_kept = MAX_KEPT,
  ) {}

  /** As `compile`; a text that does not compile is not remembered. */
  of(source: string): Result<Shared<M>, string> {
    const young = this.young.get(source)
    if (young) return ok(young)
    const old = this.old.get(source)
    if (old) return this.keep(old)
    const made = this.compile(source)
    if (!made.ok) return made
    const shared = { source, matcher: made.value }
    return OFTEN.test(source) ? this.keep(shared) : ok(shared)
  }

  private keep(shared: Shared<M>): Result<Shared<M>, string> {
    if (this.young.size >= this.max_kept) {
      this.old = this.young
      this.young = new Map()
    }
    this.young.set(shared.source, shared)
    return ok(shared)
  }
}

export const allowActions = new SharedMatchers(compileAllowAction)
export const denyActions = new SharedMatchers(compileDenyAction)
export const resources = new SharedMatchers(compileResource)
