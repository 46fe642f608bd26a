import { covers, type GrantScope } from '../core/policy/grants.js'
import { compileAllowAction, compileResource } from '../core/policy/pattern.js'
import { readRequest } from '../core/policy/request.js'
import { type FieldError, Problem } from '../core/problems.js'
import type { WiderGrant } from './approvals.dto.js'
import { scopeOf, type StoredApproval, votesOf, workflowOf } from './approvals.record.js'
import type { By, Held } from './life.service.js'

/**
 * What a yes grants beyond the request; undefined: nothing.
 * @throws Problem `validation_failed` for a grant that goes too far; `conflict` when another approver granted another
 */
export function widerOf({ row }: Held, grant: WiderGrant | undefined): By['grant'] {
  const voted = votesOf(row).some(({ effect }) => effect === 'approve')
  const before = voted ? { scope: scopeOf(row), seconds: row.grant_seconds, uses: row.grant_uses } : null
  if (!grant) {
    if (before?.scope) throw otherGrant(before.scope)
    return undefined
  }
  const scope: GrantScope = { action: grant.action, resource: grant.resource ?? null }
  const errors = grantErrors(row, grant, scope)
  if (errors.length > 0) throw new Problem('validation_failed', { errors })
  const same =
    before === null ||
    (before.scope?.action === scope.action &&
      before.scope.resource === scope.resource &&
      before.seconds === grant.seconds &&
      before.uses === grant.uses)
  if (!same) throw otherGrant(before.scope)
  return { scope, seconds: grant.seconds, uses: grant.uses }
}

function grantErrors(row: StoredApproval, grant: WiderGrant, scope: GrantScope): FieldError[] {
  const { widest_grant: widest } = workflowOf(row)
  if (!widest) {
    return [
      { path: 'grant', message: 'must be left out: this workflow allows only the one request that waits' },
    ]
  }
  const errors: FieldError[] = []
  const action = compileAllowAction(scope.action)
  if (!action.ok) errors.push({ path: 'grant.action', message: action.errors })
  const resource = scope.resource === null || scope.resource === '*' ? null : compileResource(scope.resource)
  if (resource && !resource.ok) errors.push({ path: 'grant.resource', message: resource.errors })
  if (grant.seconds > widest.seconds)
    errors.push({ path: 'grant.seconds', message: `must be at most ${widest.seconds} by this workflow` })
  if (grant.uses > widest.uses)
    errors.push({ path: 'grant.uses', message: `must be at most ${widest.uses} by this workflow` })
  const request = readRequest({ action: row.action_raw, resource: row.resource_raw })
  if (errors.length === 0 && (!request.ok || !covers(scope, request.value)))
    errors.push({ path: 'grant', message: 'must cover the request that waits' })
  return errors
}

function otherGrant(scope: GrantScope | null): Problem {
  const what = scope ? `${scope.action} on ${scope.resource ?? '*'}` : 'exactly the one request'
  return new Problem('conflict', {
    detail: `Another approver has granted ${what}: approve the same with the same limits, or deny.`,
  })
}
