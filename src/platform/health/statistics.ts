import { Injectable } from '@nestjs/common'

export interface AgentCount {
  total: number
  active: number
}

/** How long a count is reused: `/health/stats` needs no credentials and must not become a way to query. */
const REUSED_MS = 5_000

/** How many kill switches of one scope are active. */
export interface KillSwitchCount {
  scope: string
  count: number
}

/** One number, or some, read at most every few seconds. Null when nobody counts or counting fails. */
class Reused<T> {
  private read: (() => Promise<T>) | undefined
  private last: { at: number; value: Promise<T> } | undefined

  on(read: () => Promise<T>): void {
    this.read = read
  }

  async get(): Promise<T | null> {
    if (!this.read) return null
    const now = performance.now()
    if (!this.last || now - this.last.at > REUSED_MS) this.last = { at: now, value: this.read() }
    try {
      return await this.last.value
    } catch {
      this.last = undefined
      return null
    }
  }
}

/** Numbers of the installation for `/health/stats`, from the capabilities that own them. */
@Injectable()
export class Statistics {
  private readonly agentCount = new Reused<AgentCount>()
  private readonly killCounts = new Reused<KillSwitchCount[]>()

  /** Registers who counts the agents of all organizations. */
  onAgents(read: () => Promise<AgentCount>): void {
    this.agentCount.on(read)
  }

  /** Registers who counts the active kill switches of all organizations. */
  onKillSwitches(read: () => Promise<KillSwitchCount[]>): void {
    this.killCounts.on(read)
  }

  agents(): Promise<AgentCount | null> {
    return this.agentCount.get()
  }

  killSwitches(): Promise<KillSwitchCount[] | null> {
    return this.killCounts.get()
  }
}
