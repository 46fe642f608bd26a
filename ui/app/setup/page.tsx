'use client'

import { FirstPassword } from '@/components/first-password'
import { api } from '@/lib/api'

/** Makes the first owner of an organization, with the link that the first start prints. */
export default function SetupPage() {
  return (
    <FirstPassword
      title="Set up this organization"
      lead="You become its first owner, and sign in with this address and password."
      asksEmail
      send={(body) => api.post('/v1/setup', { body })}
    />
  )
}
