import { Injectable } from '@nestjs/common'
import { KeyRing } from '../platform/crypto/key-ring.js'
import { Resealing } from '../platform/crypto/resealing.js'
import { Database } from '../platform/database/database.service.js'

/** A new one makes the stored URLs unreadable. */
const PURPOSE = 'notification-url/v1'

/** The columns that say who is told of what. */
export interface StoredNotifications {
  readonly email_recipients: string[]
  readonly email_events: string[]
  readonly slack_url: string | null
  readonly slack_events: string[]
  readonly from_index: bigint
}

/** The chat's URL, sealed for its organization. */
@Injectable()
export class ChatUrlService {
  constructor(
    private readonly ring: KeyRing,
    private readonly database: Database,
    resealing: Resealing,
  ) {
    resealing.register('notification URLs', (org_id) => this.reseal(org_id))
  }

  seal(org_id: string, url: string): string {
    return this.ring.sealText(PURPOSE, org_id, url)
  }

  open(org_id: string, sealed: string): string {
    return this.ring.openText(PURPOSE, org_id, sealed)
  }

  private async reseal(org_id: string): Promise<number> {
    return this.database.withOrg({ org_id }, async (tx) => {
      const row = await tx.notificationSettings.findUnique({ where: { org_id } })
      if (!row?.slack_url || this.ring.isPresent(row.slack_url)) return 0
      const { count } = await tx.notificationSettings.updateMany({
        where: { org_id, slack_url: row.slack_url },
        data: { slack_url: this.seal(org_id, this.open(org_id, row.slack_url)) },
      })
      return count
    })
  }
}
