/** The value that a part of all is not above, to a tenth. */
export function quantile(values: readonly number[], part: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return Math.round((sorted[Math.floor(part * sorted.length)] ?? NaN) * 10) / 10
}
