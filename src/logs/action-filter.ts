import { keyFilter } from '../core/policy/key-filter.js'
import { Problem } from '../core/problems.js'
import type { LogFilter } from './logs.queries.js'

/**
 * The part of a log filter that an `action` parameter means: any spelling of an action, or a pattern, read as an
 * allow rule is.
 * @throws Problem `validation_failed` when it cannot be read
 */
export function actionFilter(action: string | undefined): Pick<LogFilter, 'action_key' | 'action_regex'> {
  if (action === undefined) return {}
  const filter = keyFilter(action)
  if (!filter.ok)
    throw new Problem('validation_failed', { errors: [{ path: 'action', message: filter.errors }] })
  return 'key' in filter.value ? { action_key: filter.value.key } : { action_regex: filter.value.regex }
}
