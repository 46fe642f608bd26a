import type { Settings } from '../config/settings.js'

/**
 * A link to a page of the dashboard that hands over a secret. Behind `#`, which browsers send to no server and write in
 * no Referer. It begins with what the operator set and never with a request's `Host`, which anybody can choose.
 */
export const publicLink = (
  { public_url, port }: Pick<Settings, 'public_url' | 'port'>,
  page: string,
  token: string,
): string => `${public_url ?? `http://localhost:${port}`}/dashboard/${page}/#token=${token}`
