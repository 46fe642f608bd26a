import type { AcceptInvitation, CreateInvitation } from '../generated/openapi.js'
import type { QueryOf } from '../operations.js'
import type { RequestOptions } from '../transport.js'
import { Resource } from './resource.js'

/** Links that make members, each once. */
export class Invitations extends Resource {
  /** Invites somebody to become a member. */
  create(body: CreateInvitation, options?: RequestOptions) {
    return this.call('post', '/v1/invitations', { body }, options)
  }
  /** Lists open invitations, oldest first. */
  list(query?: QueryOf<'get', '/v1/invitations'>, options?: RequestOptions) {
    return this.pages('/v1/invitations', { query }, options)
  }
  /** Gets one invitation, also a settled one. */
  get(invitation_id: string, options?: RequestOptions) {
    return this.call('get', '/v1/invitations/{invitation_id}', { params: { invitation_id } }, options)
  }
  /** Takes an open invitation back: its link is dead. */
  async revoke(invitation_id: string, options?: RequestOptions): Promise<void> {
    await this.call('delete', '/v1/invitations/{invitation_id}', { params: { invitation_id } }, options)
  }
  /** Accepts an invitation with the token of its link: makes the member, who may sign in then. */
  accept(body: AcceptInvitation, options?: RequestOptions) {
    return this.call('post', '/v1/invitations/accept', { body }, options)
  }
}
