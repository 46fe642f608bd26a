import { Injectable } from '@nestjs/common'

export interface AgentCount {
  total: number
  active: number
}

/** How long a count is reused: `/health/stats` needs no credentials and must not become a way to query. */
const REUSED_MS = 5_000

/** Numbers of the installation for `/health/stats`, from the capability that owns them. */
@Injectable()
export class Statistics {
  private read: (() => Promise<AgentCount>) | undefined
  private last: { at: number; count: Promise<AgentCount> } | undefined

  /** Registers who counts the agents of all organizations. */
  onAgents(read: () => Promise<AgentCount>): void {
    this.read = read
  }

  /** Null when nobody counts or counting fails. */
  async agents(): Promise<AgentCount | null> {
    if (!this.read) return null
    const now = performance.now()
    if (!this.last || now - this.last.at > REUSED_MS) this.last = { at: now, count: this.read() }
    try {
      return await this.last.count
    } catch {
      this.last = undefined
      return null
    }
  }
}
