const MAX_TEXTS = 10_000

/**
 * One copy of a text that thousands of agents have in common, such as their team: every row that the database answers
 * comes with a copy of its own.
 */
export class SharedTexts {
  private readonly known = new Map<string, string>()

  of(text: string): string {
    const known = this.known.get(text)
    if (known !== undefined) return known
    if (this.known.size >= MAX_TEXTS) this.known.clear()
    this.known.set(text, text)
    return text
  }
}
