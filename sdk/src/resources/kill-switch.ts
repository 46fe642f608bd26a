import type {
  ActivateKillSwitch,
  DrillKillSwitch,
  DeactivateKillSwitch,
  KillSwitchSettings,
} from '../generated/openapi.js'
import type { QueryOf } from '../operations.js'
import type { RequestOptions } from '../transport.js'
import { Resource } from './resource.js'

/** Stopping everything, a team, an agent, a key or an action at once. */
export class KillSwitch extends Resource {
  /** Stops the installation, the organization, an environment, team, agent or key, or the actions of a pattern. */
  activate(body: ActivateKillSwitch, options?: RequestOptions) {
    return this.call('post', '/v1/kill-switch/activate', { body }, options)
  }
  /** Ends a kill switch. */
  deactivate(body: DeactivateKillSwitch, options?: RequestOptions) {
    return this.call('post', '/v1/kill-switch/deactivate', { body }, options)
  }
  /** Lists what is stopped, newest first; with `include_ended` also what was. */
  list(query?: QueryOf<'get', '/v1/kill-switch'>, options?: RequestOptions) {
    return this.pages('/v1/kill-switch', { query }, options)
  }
  /** Whether two people are needed to end an organization-wide kill switch. */
  getSettings(options?: RequestOptions) {
    return this.call('get', '/v1/kill-switch/settings', {}, options)
  }
  /** Sets whether two people are needed to end an organization-wide kill switch. */
  putSettings(body: KillSwitchSettings, options?: RequestOptions) {
    return this.call('put', '/v1/kill-switch/settings', { body }, options)
  }
  /** Tries the kill switch on one agent and measures how long it takes. */
  drill(body: DrillKillSwitch = {}, options?: RequestOptions) {
    return this.call('post', '/v1/kill-switch/drill', { body }, options)
  }
}
