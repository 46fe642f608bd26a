'use client'

import { useMutation } from '@tanstack/react-query'
import { useRouter } from 'next/navigation'
import { type FormEvent, useState } from 'react'
import { fieldOf } from '@/lib/form'
import { Button, TextField } from './controls'
import { Door } from './door'
import { fieldError, Problem } from './problem'

interface FirstPasswordProps {
  title: string
  lead: string
  /** Whether the address is asked for: an invitation knows it. */
  asksEmail: boolean
  send: (given: { token: string; name: string; password: string; email: string }) => Promise<unknown>
}

/** The page of a link that makes somebody a member: the token stands behind `#`, which no server sees. */
export function FirstPassword({ title, lead, asksEmail, send }: FirstPasswordProps) {
  const router = useRouter()
  const [token] = useState(() =>
    typeof location === 'undefined' ? '' : location.hash.replace(/^#token=/, ''),
  )
  const accept = useMutation({ mutationFn: send, onSuccess: () => router.replace('/sign-in/') })
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault()
    const form = new FormData(event.currentTarget)
    const text = (name: string) => fieldOf(form, name)
    accept.mutate({ token, name: text('name'), password: text('password'), email: text('email') })
  }
  return (
    <Door title={title} lead={lead}>
      <form method="post" onSubmit={submit} className="flex flex-col gap-3">
        {asksEmail && (
          <TextField
            label="Email"
            name="email"
            type="email"
            autoComplete="username"
            required
            error={fieldError(accept.error, 'email')}
          />
        )}
        <TextField
          label="Your name"
          name="name"
          autoComplete="name"
          required
          maxLength={255}
          error={fieldError(accept.error, 'name')}
        />
        <TextField
          label="Password"
          name="password"
          type="password"
          autoComplete="new-password"
          minLength={12}
          maxLength={256}
          required
          hint="12 characters or more, none of the usual ones."
          error={fieldError(accept.error, 'password')}
        />
        <Problem error={accept.error} />
        <Button kind="primary" type="submit" busy={accept.isPending}>
          Set the password
        </Button>
      </form>
    </Door>
  )
}
