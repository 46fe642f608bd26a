import { createParamDecorator, type ExecutionContext } from '@nestjs/common'
import type { Request } from 'express'
import type { Authority, Permission } from '../../core/permissions.js'

interface Identity {
  /** The organization this request works in. For the root key: the default one, or `X-ORG-ID`. */
  readonly org_id: string
  readonly permissions: ReadonlySet<Permission>
  /** Of the request that presented the credentials; set by the access guard, recorded in entries. */
  readonly request_id?: string
}

/** The operator of the installation (`ADMIN_API_KEY`). */
export interface RootPrincipal extends Identity {
  readonly kind: 'root'
}

/** What administrators of one organization have in common, whether a program or a person. */
interface Administrator extends Identity {
  /** Null: the whole organization. Otherwise only this team's agents and what belongs to them (row AG-18). */
  readonly team: string | null
}

/** An administrator key `adk_…` of one organization. */
export interface AdminKeyPrincipal extends Administrator {
  readonly kind: 'admin_key'
  readonly key_id: string
  /** The name of a built-in role or of one of the organization's own. */
  readonly role: string
}

/** A person, by the session of a browser or a token made from it. */
export interface MemberPrincipal extends Administrator {
  readonly kind: 'member'
  readonly member_id: string
  /** The session that authenticated this request. */
  readonly session_id: string
  /** Names of the built-in and the organization's own roles; `permissions` is their union. */
  readonly roles: readonly string[]
}

/** An agent, by one of its keys `agk_…`. */
export interface AgentPrincipal extends Identity {
  readonly kind: 'agent'
  readonly agent_id: string
  readonly key_id: string
  /** SHA-256 (hex) of the key that was presented: how the decision path finds its snapshot again. */
  readonly key_hash: string
}

/** Who asks. Made from credentials by the access guard, never from a body or another header. */
export type Principal = RootPrincipal | AdminKeyPrincipal | MemberPrincipal | AgentPrincipal
export type AdminPrincipal = RootPrincipal | AdminKeyPrincipal | MemberPrincipal

/** The team that a principal is held to; null: none (the root key, and administrators of the whole organization). */
export const teamOf = (principal: Principal): string | null =>
  principal.kind === 'admin_key' || principal.kind === 'member' ? principal.team : null

/** What a principal may hand on to others (`mayGrant`). */
export function authorityOf(principal: Principal): Authority {
  const { permissions } = principal
  switch (principal.kind) {
    case 'root':
      return { permissions, owner: true, team: null }
    case 'admin_key':
      return { permissions, owner: principal.role === 'owner', team: principal.team }
    case 'member':
      return { permissions, owner: principal.roles.includes('owner'), team: principal.team }
    case 'agent':
      return { permissions, owner: false, team: null }
  }
}

/** Where the guard leaves the principal for the handler and the log line. */
export interface WithPrincipal {
  principal?: Principal
}

/** Parameter decorator: the authenticated principal of this request. */
export const By = createParamDecorator((_: unknown, context: ExecutionContext): Principal => {
  const { principal } = context.switchToHttp().getRequest<Request & WithPrincipal>()
  if (!principal) throw new Error('@By() on a route without an authenticated principal')
  return principal
})

/** Parameter decorator of `@Access(…, 'member')` routes: the person who is signed in. */
export const Person = createParamDecorator((_: unknown, context: ExecutionContext): MemberPrincipal => {
  const { principal } = context.switchToHttp().getRequest<Request & WithPrincipal>()
  if (principal?.kind !== 'member') throw new Error('@Person() on a route that is not for people alone')
  return principal
})

/** Parameter decorator of routes that may be open: the principal, or undefined for who presented nothing. */
export const Maybe = createParamDecorator(
  (_: unknown, context: ExecutionContext): Principal | undefined =>
    context.switchToHttp().getRequest<Request & WithPrincipal>().principal,
)
