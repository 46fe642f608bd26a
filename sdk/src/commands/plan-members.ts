import { UsageError } from '../usage.js'
import type { Connection } from './connection.js'
import type { WantedMember } from './plan-file.js'

/** What a person may do, and for which team. */
interface Place {
  readonly roles: readonly string[]
  readonly team: string | null
}

/** One change that makes the people of the organization as the file says. Nobody is removed by a file. */
export type PersonStep =
  | {
      readonly kind: 'invite'
      readonly member: string
      readonly to: Place
      /** An open invitation that says something else, and is taken back. */
      readonly replaces: string | null
    }
  | {
      readonly kind: 'member'
      readonly member: string
      readonly member_id: string
      readonly from: Place
      readonly to: Place
    }

/** What a step made. */
export interface PersonDone {
  readonly kind: PersonStep['kind']
  readonly member: string
  readonly member_id?: string
  readonly invitation_id?: string
  /** Where the service sends no mail: for the person, works once, and is shown this once. */
  readonly link?: string
}

/** @throws UsageError for somebody who was deactivated: whoever did that did not want a file to undo it */
export async function peopleSteps(
  wanted: readonly WantedMember[],
  { client }: Connection,
): Promise<PersonStep[]> {
  if (wanted.length === 0) return []
  const members = byEmail(await client.members.list({ limit: 100 }).toArray())
  const invitations = byEmail(await client.invitations.list({ limit: 100 }).toArray())
  return wanted.flatMap(({ email, roles, team }): PersonStep[] => {
    const to = { roles, team }
    const found = members.get(email.toLowerCase())
    if (found && !found.is_active) {
      throw new UsageError(
        `${email} is deactivated (${found.member_id}). Activate them, or take them out of the file.`,
      )
    }
    if (found) {
      const { member_id } = found
      return same(found, to) ? [] : [{ kind: 'member', member: email, member_id, from: placeOf(found), to }]
    }
    const open = invitations.get(email.toLowerCase())
    if (open && same(open, to)) return []
    return [{ kind: 'invite', member: email, to, replaces: open?.invitation_id ?? null }]
  })
}

export async function takePerson(step: PersonStep, { client }: Connection): Promise<PersonDone> {
  const { kind, member } = step
  const { team } = step.to
  const roles = [...step.to.roles]
  if (step.kind === 'member') {
    await client.members.update(step.member_id, { roles, team })
    return { kind, member, member_id: step.member_id }
  }
  if (step.replaces !== null) await client.invitations.revoke(step.replaces)
  const { invitation_id, link } = await client.invitations.create({ email: member, roles, team })
  return { kind, member, invitation_id, ...(link !== null && { link }) }
}

/** `admin, approver in payments`. */
export const placeText = ({ roles, team }: Place): string =>
  `${roles.join(', ')}${team === null ? '' : ` in ${team}`}`

const placeOf = ({ roles, team }: Place): Place => ({ roles, team })

/** The order of roles says nothing. */
const same = (a: Place, b: Place): boolean =>
  a.team === b.team && [...new Set(a.roles)].sort().join() === [...new Set(b.roles)].sort().join()

const byEmail = <T extends { readonly email: string }>(people: readonly T[]): ReadonlyMap<string, T> =>
  new Map(people.map((person) => [person.email.toLowerCase(), person]))
