import type { UpdateMember } from '../generated/openapi.js'
import type { QueryOf } from '../operations.js'
import type { RequestOptions } from '../transport.js'
import { Resource } from './resource.js'

/** The people of an organization. */
export class Members extends Resource {
  /** Lists the people of the organization, oldest first. */
  list(query?: QueryOf<'get', '/v1/members'>, options?: RequestOptions) {
    return this.pages('/v1/members', { query }, options)
  }
  /** Gets one person, also a deactivated one. */
  get(member_id: string, options?: RequestOptions) {
    return this.call('get', '/v1/members/{member_id}', { params: { member_id } }, options)
  }
  /** Changes a person's name, roles or team, deactivates or activates them. */
  update(member_id: string, body: UpdateMember, options?: RequestOptions) {
    return this.call('patch', '/v1/members/{member_id}', { params: { member_id }, body }, options)
  }
}
