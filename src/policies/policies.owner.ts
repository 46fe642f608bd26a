import { createParamDecorator, type ExecutionContext } from '@nestjs/common'
import type { Request } from 'express'

/** Whose policy it is. Every one of them has versions, is compiled, recorded and rolled back alike. */
export type PolicyOwner =
  | { readonly scope: 'agent'; readonly agent_id: string }
  | { readonly scope: 'team'; readonly team: string }
  | { readonly scope: 'organization' }

/** Parameter decorator: whose policy the path of this request names. */
export const Of = createParamDecorator((_: unknown, context: ExecutionContext): PolicyOwner => {
  const { params } = context.switchToHttp().getRequest<Request<Record<string, string>>>()
  if (params.agent_id !== undefined) return { scope: 'agent', agent_id: params.agent_id }
  if (params.team !== undefined) return { scope: 'team', team: params.team }
  return { scope: 'organization' }
})

/** How messages name the owner. */
export function nameOf(owner: PolicyOwner): string {
  switch (owner.scope) {
    case 'agent':
      return `agent ${owner.agent_id}`
    case 'team':
      return `team ${owner.team}`
    case 'organization':
      return 'the organization'
  }
}
