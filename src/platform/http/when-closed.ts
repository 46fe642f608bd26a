import type { ServerResponse } from 'node:http'

/** Runs `end` once the response is over, whoever ended it; at once when that has been, for then no event comes. */
export function whenClosed(response: ServerResponse, end: () => void): void {
  if (response.closed) end()
  else response.once('close', end)
}
