const SHOWN_FIRST = new Set(['timestamp', 'level', 'logger', 'message', 'err'])

/** Turns a JSON log line into one for people: `12:00:00.000 INFO  http  GET /v1/agents 200  status=200 …`. */
export function formatLine(line: string): string {
  let entry: Record<string, unknown>
  try {
    entry = JSON.parse(line) as Record<string, unknown>
  } catch {
    return line
  }
  const time = text(entry.timestamp).slice(11, 23)
  const level = text(entry.level).toUpperCase().padEnd(5)
  const facts = Object.entries(entry)
    .filter(([name, value]) => !SHOWN_FIRST.has(name) && value !== undefined && value !== '')
    .map(([name, value]) => `${name}=${text(value)}`)
  const head = [time, level, text(entry.logger).padEnd(8), text(entry.message), ...facts].filter(
    (part) => part !== '',
  )
  return `${head.join(' ')}\n${stackOf(entry.err)}`
}

const text = (value: unknown): string =>
  typeof value === 'string' ? value : value === undefined ? '' : JSON.stringify(value)

function stackOf(error: unknown): string {
  if (typeof error !== 'object' || error === null || !('stack' in error)) return ''
  return `  ${text(error.stack).replaceAll('\n', '\n  ')}\n`
}
