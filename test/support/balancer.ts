/**
 * What a load balancer does at least: sends in turn to the replicas that are in, takes one out when it refuses a
 * connection or announces with `Connection: close` that it is leaving, and is told when it is in again.
 */
export class Balancer {
  private readonly out = new Set<string>()
  private turn = 0

  constructor(private readonly urls: readonly string[]) {}

  next(): string | undefined {
    const present = this.urls.filter((url) => !this.out.has(url))
    return present[this.turn++ % present.length]
  }

  leave(url: string): void {
    this.out.add(url)
  }

  enter(url: string): void {
    this.out.delete(url)
  }
}
