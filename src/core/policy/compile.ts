import type { Result } from '../result.js'
import { ok } from '../result.js'
import type { CompileEnv, CompileError } from './stage.js'
import { rulesStage, type CompiledRules } from './stages/rules.js'

export {
  canonicalDocument,
  MAX_ONLINE,
  MAX_RULES,
  type PolicyDocument,
  type Rule,
} from './stages/rules-document.js'

/** A policy document ready to decide with: one member per stage that reads documents. Immutable, safe to share. */
export interface CompiledPolicy {
  readonly rules: CompiledRules
}

/**
 * Compiles a policy document `{ allow, deny, require_approval }` of at most 10,000 rules, or says everything that is
 * wrong with it at once, each mistake with its path (`allow[3].conditions.time_range.tz`). A policy that does not
 * compile is not stored (design 5). Rules are kept as typed (row AG-35). Never throws on JSON.
 */
export function compilePolicy(document: unknown, env: CompileEnv): Result<CompiledPolicy, CompileError[]> {
  const rules = rulesStage.compile(document, env)
  return rules.ok ? ok({ rules: rules.value }) : rules
}
