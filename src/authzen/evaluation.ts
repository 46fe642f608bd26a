import { readRequest } from '../core/policy/request.js'
import { type FieldError, Problem, type ProblemCode } from '../core/problems.js'
import { err, ok, type Result } from '../core/result.js'
import type { EnforceDto } from '../enforce/enforce.dto.js'

type Members = Readonly<Record<string, unknown>>

/** Why one evaluation cannot be decided. */
export interface Refusal {
  readonly code: ProblemCode
  readonly errors: readonly FieldError[]
}

const MEMBERS = ['subject', 'action', 'resource', 'context'] as const

/** One evaluation of several: whole members that it leaves out are those of the request around it. */
export function withDefaults(item: Members, defaults: Members): Members {
  const merged: Record<string, unknown> = {}
  for (const name of MEMBERS) merged[name] = Object.hasOwn(item, name) ? item[name] : defaults[name]
  return merged
}

/**
 * Reads an evaluation as a request of the agent whose key asks: `action.name` and `resource.id` are what rules match,
 * everything else that the standard knows goes to `context.authzen`, where the log keeps it and approvals bind it.
 * What the standard does not know is ignored, as it wants. The agent's key says who asks; `subject.id` must agree.
 */
export function readEvaluation(source: Members, agent_id: string): Result<EnforceDto, Refusal> {
  const errors: FieldError[] = []
  const subject = entity(source, 'subject', ['type', 'id'], errors)
  const action = entity(source, 'action', ['name'], errors)
  const resource = entity(source, 'resource', ['type', 'id'], errors)
  const context = objectAt(source, 'context', 'context', errors)
  if (errors.length > 0) return err({ code: 'validation_failed', errors })
  if (subject.id !== agent_id) return err({ code: 'forbidden', errors: [FOREIGN_SUBJECT] })
  const { approval_id, rest } = withoutApproval(context)
  const request: EnforceDto = {
    action: String(action.name),
    resource: String(resource.id),
    context: {
      authzen: {
        subject: only(subject, ['type', 'properties']),
        ...(action.properties !== undefined && { action: only(action, ['properties']) }),
        resource: only(resource, ['type', 'properties']),
        ...(rest !== undefined && { context: rest }),
      },
    },
    ...(approval_id !== undefined && { approval_id }),
  }
  const reading = readRequest(request)
  if (reading.ok) return ok(request)
  return err({ code: 'validation_failed', errors: reading.errors.map(asSent) })
}

const FOREIGN_SUBJECT: FieldError = {
  path: 'subject.id',
  message: 'must be the id of the agent whose key asks: an agent asks for itself alone',
}

/** As the answer to the whole request. */
export const problemOf = ({ code, errors }: Refusal): Problem =>
  new Problem(code, {
    ...(code === 'forbidden' && { detail: errors.map(inWords).join('; ') }),
    errors,
  })

export const inWords = ({ path, message }: FieldError): string => (path ? `${path}: ${message}` : message)

export const isObject = (value: unknown): value is Members =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

function entity(source: Members, name: string, required: readonly string[], errors: FieldError[]): Members {
  const value = source[name]
  if (!isObject(value)) {
    errors.push({ path: name, message: 'is required, a JSON object' })
    return {}
  }
  for (const member of required) {
    const text = value[member]
    if (typeof text !== 'string' || text === '')
      errors.push({ path: `${name}.${member}`, message: 'is required, text that is not empty' })
  }
  objectAt(value, 'properties', `${name}.properties`, errors)
  return value
}

function objectAt(source: Members, name: string, path: string, errors: FieldError[]): Members | undefined {
  const value = source[name]
  if (value === undefined || isObject(value)) return value
  errors.push({ path, message: 'must be a JSON object' })
  return undefined
}

/**
 * The approval that the caller brings back (`context.approval`, Access Request profile: unchanged, only its `id` is
 * used). It stood in no question before the approval, so it is no part of what the approval is bound to.
 */
function withoutApproval(context: Members | undefined): { approval_id?: string; rest?: Members } {
  const approval = context?.approval
  if (!context || !isObject(approval) || typeof approval.id !== 'string')
    return context === undefined ? {} : { rest: context }
  const rest = only(
    context,
    Object.keys(context).filter((name) => name !== 'approval'),
  )
  return { approval_id: approval.id, ...(Object.keys(rest).length > 0 && { rest }) }
}

const only = (value: Members, names: readonly string[]): Record<string, unknown> =>
  Object.fromEntries(names.filter((name) => value[name] !== undefined).map((name) => [name, value[name]]))

/** The same mistake under the name that the caller knows it by. */
function asSent({ path, message }: FieldError): FieldError {
  if (path === 'action') return { path: 'action.name', message }
  if (path === 'resource') return { path: 'resource.id', message }
  if (path === 'approval_id') return { path: 'context.approval.id', message }
  return { path: path.replace(/^context\.authzen\.?/, ''), message }
}
