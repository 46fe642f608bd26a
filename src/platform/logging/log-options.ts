import { pino, stdTimeFunctions, type DestinationStream, type LoggerOptions } from 'pino'
import { workerNumber } from '../cluster/worker.js'
import type { Settings } from '../config/settings.js'
import { formatLine } from './text-format.js'

/** Secrets by any road: headers of a logged request, fields of a logged object. Bodies are never logged at all. */
const SECRET_FIELDS = ['api_key', 'key', 'secret', 'password', 'token', 'authorization', 'cookie']
const SECRET_HEADERS = ['x-admin-key', 'x-agent-key', 'authorization', 'cookie', 'set-cookie']

export const REDACTED_PATHS = [
  ...SECRET_FIELDS.flatMap((name) => [name, `*.${name}`, `*.*.${name}`]),
  ...SECRET_HEADERS.flatMap((name) => [
    `["${name}"]`,
    `headers["${name}"]`,
    `*.headers["${name}"]`,
    `*.*.headers["${name}"]`,
  ]),
]

/** One JSON object a line: `timestamp` (ISO 8601), `level` as a word, `logger`, `message`, then the facts (row AG-97). */
export function logOptions(settings: Pick<Settings, 'log_level'>): LoggerOptions {
  const worker = workerNumber()
  return {
    level: settings.log_level,
    base: worker === undefined ? null : { worker },
    messageKey: 'message',
    timestamp: () => stdTimeFunctions.isoTime().replace('"time"', '"timestamp"'),
    formatters: { level: (label) => ({ level: label }) },
    redact: { paths: REDACTED_PATHS, censor: '[redacted]' },
    serializers: { err: pino.stdSerializers.errWithCause },
  }
}

/** Where lines go: standard output, as JSON or as text for people. */
export function logDestination(settings: Pick<Settings, 'log_format'>): DestinationStream {
  if (settings.log_format === 'json') return pino.destination({ dest: 1, sync: false })
  return { write: (line: string) => void process.stdout.write(formatLine(line)) }
}
