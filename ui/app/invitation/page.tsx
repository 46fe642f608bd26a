'use client'

import { FirstPassword } from '@/components/first-password'
import { api } from '@/lib/api'

/** Accepts an invitation with its link. */
export default function InvitationPage() {
  return (
    <FirstPassword
      title="Accept the invitation"
      lead="You sign in with the address that was invited and this password."
      asksEmail={false}
      send={({ token, name, password }) =>
        api.post('/v1/invitations/accept', { body: { token, name, password } })
      }
    />
  )
}
