/**
 * Keeps a label whose values tenants invent within a number of series: the first `size` distinct values are kept,
 * every later one is `other`.
 */
export class LabelBudget {
  private readonly known = new Set<string>()

  constructor(private readonly size: number) {}

  take(value: string | undefined): string {
    if (value === undefined || value === '') return 'other'
    if (this.known.has(value)) return value
    if (this.known.size >= this.size || !/^[a-z0-9_*-]{1,32}$/.test(value)) return 'other'
    this.known.add(value)
    return value
  }
}
