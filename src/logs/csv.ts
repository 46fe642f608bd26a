/** Characters with which spreadsheets begin a formula; also in their full width, which some read alike. */
const FORMULA = /^[=+\-@\t\r\n＝＋－＠]/

/**
 * One row of RFC 4180, with its line end. A text that a spreadsheet would take for a formula gets an apostrophe in
 * front, because an agent's resource may be an attack on whoever opens the file. null and undefined are empty cells,
 * objects are their JSON.
 */
export const csvRow = (cells: readonly unknown[]): string => `${cells.map(csvCell).join(',')}\r\n`

function csvCell(value: unknown): string {
  if (value === null || value === undefined) return ''
  if (typeof value === 'number' || typeof value === 'boolean') return String(value)
  const text = typeof value === 'string' ? value : JSON.stringify(value)
  const safe = FORMULA.test(text) ? `'${text}` : text
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe
}
