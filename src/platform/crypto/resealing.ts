import { Injectable } from '@nestjs/common'

/** Puts what an organization has sealed with an earlier key under the present one; answers how much there was. */
export type Reseal = (org_id: string) => Promise<number>

/** Who keeps sealed things registers here how they are sealed anew after a rotation of `LEDGER_KEK`. */
@Injectable()
export class Resealing {
  private readonly registered = new Map<string, Reseal>()

  /** @param what in the plural, for the log line: `data keys`, `webhook secrets` */
  register(what: string, reseal: Reseal): void {
    this.registered.set(what, reseal)
  }

  /** @returns how many of each kind were sealed anew */
  async organization(org_id: string): Promise<Record<string, number>> {
    const counts: Record<string, number> = {}
    for (const [what, reseal] of this.registered) counts[what] = await reseal(org_id)
    return counts
  }
}
