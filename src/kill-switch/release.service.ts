import { Injectable, Logger } from '@nestjs/common'
import { Problem } from '../core/problems.js'
import { actorOf, LedgerService } from '../ledger/ledger.service.js'
import type { Principal } from '../platform/access/principal.js'
import { Clock } from '../platform/clock/clock.js'
import { Database, type Tx } from '../platform/database/database.service.js'
import { KillAftermathService } from './aftermath.service.js'
import type { DeactivateKillSwitch, KillSwitch, KillSwitchSettings } from './kill-switch.dto.js'
import * as queries from './kill-switch.queries.js'
import { RELEASE_MS, view } from './kill-switch.view.js'
import { targetOf } from './kill-target.js'
import { KillSwitchRecords } from './records.service.js'

/** Lets go on what was stopped: one person, or two where the organization wants it so. */
@Injectable()
export class KillReleaseService {
  private readonly logger = new Logger(KillReleaseService.name)

  constructor(
    private readonly database: Database,
    private readonly ledger: LedgerService,
    private readonly clock: Clock,
    private readonly records: KillSwitchRecords,
    private readonly aftermath: KillAftermathService,
  ) {}

  /**
   * Ends a switch. Where two people are needed, the first is noted and the switch stays active.
   * @throws Problem `kill_switch_not_found` when there is none, also for one of another organization or team;
   * `forbidden` as for activating it; `validation_failed` unless it is named in exactly one way; `conflict` when the
   * same person asks twice
   */
  async deactivate(principal: Principal, body: DeactivateKillSwitch): Promise<KillSwitch> {
    assertNamedOnce(body)
    await this.finishFollowing(principal, body)
    const kill_id = await this.database.withOrg(principal, async (tx) => {
      // What it is about decides which lock is needed, so it is looked up before and again under the lock.
      const named = await this.records.named(tx, principal, body)
      if (named.deactivated_at) return named.kill_id
      const { scope } = named
      const { subject } = await this.records.hold(tx, principal, scope, targetOf(named) ?? undefined)
      const row = await this.records.named(tx, principal, { kill_id: named.kill_id })
      if (row.deactivated_at) return row.kill_id
      if (scope === 'organization' && (await this.needsAnother(tx, principal, row, body.reason))) {
        return row.kill_id
      }
      await this.records.end(tx, principal.org_id, principal, row, subject, body.reason)
      return row.kill_id
    })
    const kill = view(
      await this.database.withOrg(principal, (tx) => this.records.named(tx, principal, { kill_id })),
    )
    const { scope, target, state } = kill
    this.logger.warn({ kill_id, scope, target, state, by: actorOf(principal) }, 'a kill switch was released')
    return kill
  }

  getSettings(principal: Principal): Promise<KillSwitchSettings> {
    return this.database.withOrg(principal, async (tx) => ({
      two_people: await this.twoPeople(tx, principal),
    }))
  }

  /** @throws Problem `conflict` when the second person would be waived while an organization-wide switch is active */
  async putSettings(principal: Principal, { two_people }: KillSwitchSettings): Promise<KillSwitchSettings> {
    const { org_id } = principal
    return this.database.withOrg(principal, async (tx) => {
      await queries.lockKillSwitches(tx, org_id)
      const before = await this.twoPeople(tx, principal)
      if (before === two_people) return { two_people }
      if (!two_people && (await this.records.findActive(tx, principal, 'organization'))) {
        throw new Problem('conflict', {
          detail: 'An organization-wide kill switch is active. End it first, with the two people it needs.',
        })
      }
      await tx.killSwitchSettings.upsert({
        where: { org_id },
        create: { org_id, two_people },
        update: { two_people },
      })
      await this.ledger.append(tx, principal, {
        event: 'kill_switch.settings_updated',
        change: { kind: 'kill_switch_settings', id: org_id, op: 'updated' },
        before: { two_people: before },
        after: { two_people },
      })
      return { two_people }
    })
  }

  /** Whether somebody else must ask too; if so, notes who asked first and why. */
  private async needsAnother(
    tx: Tx,
    principal: Principal,
    { kill_id, release_by, release_at }: queries.KillRow,
    reason: string,
  ): Promise<boolean> {
    if (!(await this.twoPeople(tx, principal))) return false
    const now = this.clock.now()
    const { org_id } = principal
    const by = actorOf(principal).id
    if (release_by !== null && release_at && now - release_at.getTime() < RELEASE_MS) {
      if (release_by !== by) return false
      throw new Problem('conflict', {
        detail: 'You have asked for this already. A second, different person must ask within 15 minutes.',
      })
    }
    await tx.killSwitch.update({
      where: { org_id_kill_id: { org_id, kill_id } },
      data: { release_by: by, release_reason: reason, release_at: new Date(now) },
    })
    await this.ledger.append(tx, principal, {
      event: 'kill_switch.release_requested',
      change: { kind: 'kill_switch', id: kill_id, op: 'release_requested' },
      after: { reason },
    })
    return true
  }

  private async twoPeople(tx: Tx, { org_id }: Principal): Promise<boolean> {
    const settings = await tx.killSwitchSettings.findUnique({ where: { org_id } })
    return settings?.two_people ?? false
  }

  /** Nothing that waited when the switch was pulled may be left when it is ended. */
  private async finishFollowing(principal: Principal, body: DeactivateKillSwitch): Promise<void> {
    const kill = await this.database.withOrg(principal, (tx) => this.records.named(tx, principal, body))
    if (kill.deactivated_at || kill.scope === 'installation') return
    await this.aftermath.finish({ ...kill, org_id: principal.org_id, target: targetOf(kill) })
  }
}

function assertNamedOnce({ kill_id, scope, target }: DeactivateKillSwitch): void {
  const fault =
    kill_id === undefined && scope === undefined
      ? { path: 'kill_id', message: 'give kill_id, or scope and target' }
      : kill_id !== undefined && (scope !== undefined || target !== undefined)
        ? { path: 'scope', message: 'is not given beside kill_id' }
        : null
  if (fault) throw new Problem('validation_failed', { errors: [fault] })
}
