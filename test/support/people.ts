import type { Welcome } from '../../src/setup/setup.dto.js'
import type { SetUpLink } from '../../src/setup/setup.dto.js'
import { type Answer, Client } from './client.js'

export const PASSWORD = 'a quiet river at noon'

/** What stands behind `#token=` of a link. */
export const tokenOf = (link: string): string => new URL(link).hash.replace('#token=', '')

/** The first owner of the organization that `root` works in. */
export async function firstOwner(root: Client, email = 'owner@example.com'): Promise<Welcome> {
  const made = await root.post<SetUpLink>('/setup-links', undefined)
  const body = { token: tokenOf(made.body.link), email, name: 'First Owner', password: PASSWORD }
  const answer = await new Client(root.url).post<Welcome>('/setup', body)
  if (answer.status !== 201) throw new Error(`not set up: ${answer.text}`)
  return answer.body
}

/** The cookies that an answer sets, as a browser would send them back. */
export const cookieOf = (answer: Answer<unknown>): string =>
  answer.headers
    .getSetCookie()
    .map((cookie) => cookie.split(';')[0] ?? '')
    .join('; ')

/** A browser of our own pages: its cookie, and what they add to every request. */
export const browser = (url: string, cookie: string): Client =>
  new Client(url, { Cookie: cookie, Origin: url, 'X-AgentGuard-CSRF': '1' })

/** Signs in as a browser does. */
export async function signIn(
  url: string,
  email: string,
  password = PASSWORD,
  organization?: string,
): Promise<Client> {
  const answer = await new Client(url).post('/auth/login', { email, password, organization })
  if (answer.status !== 200) throw new Error(`not signed in: ${answer.text}`)
  return browser(url, cookieOf(answer))
}
