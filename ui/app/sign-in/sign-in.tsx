'use client'

import { useMutation, useQueryClient } from '@tanstack/react-query'
import { useRouter, useSearchParams } from 'next/navigation'
import { type FormEvent, useState } from 'react'
import { Button, Select, TextField } from '@/components/controls'
import { Door } from '@/components/door'
import { Problem } from '@/components/problem'
import { api, ApiProblem, type Schemas, Unreachable, urlOf } from '@/lib/api'
import { fieldOf } from '@/lib/form'
import { keepReturn, safeReturn } from '@/lib/navigation'

const ORGANIZATION_KEY = 'agentguard.organization'

/** Signs in with a password or through the organization's identity provider, and goes back to where one came from. */
export function SignIn() {
  const [way, setWay] = useState<'password' | 'provider'>('password')
  const wanted = useSearchParams().get('return')
  const other = way === 'password' ? 'provider' : 'password'
  return (
    <Door title="Sign in" lead={wanted === null ? undefined : 'You come back to the page you asked for.'}>
      {way === 'password' ? <PasswordForm wanted={wanted} /> : <ProviderForm wanted={wanted} />}
      <div className="mt-4 border-t border-line pt-3">
        <Button kind="quiet" className="w-full" onClick={() => setWay(other)}>
          {way === 'password' ? 'Use single sign-on instead' : 'Use a password instead'}
        </Button>
      </div>
    </Door>
  )
}

type Choice = Schemas['OwnOrganization']

/** The organizations that know this password, where the API needs one of them named. */
function choicesOf(error: unknown): readonly Choice[] {
  if (!(error instanceof ApiProblem) || error.problem.code !== 'organization_ambiguous') return []
  return (error.problem as { organizations?: readonly Choice[] }).organizations ?? []
}

function PasswordForm({ wanted }: { wanted: string | null }) {
  const router = useRouter()
  const client = useQueryClient()
  const [choices, setChoices] = useState<readonly Choice[]>([])
  const login = useMutation({
    mutationFn: (body: Schemas['Login']) => api.post('/v1/auth/login', { body }),
    onSuccess: (me) => {
      client.clear()
      client.setQueryData(['me'], me)
      router.replace(safeReturn(wanted) ?? '/')
    },
    onError: (error) => setChoices(choicesOf(error)),
  })
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault()
    const form = new FormData(event.currentTarget)
    const organization = fieldOf(form, 'organization')
    login.mutate({
      email: fieldOf(form, 'email'),
      password: fieldOf(form, 'password'),
      ...(organization !== '' && { organization }),
    })
  }
  return (
    <form method="post" onSubmit={submit} className="flex flex-col gap-3">
      <TextField label="Email" name="email" type="email" autoComplete="username" required autoFocus />
      <TextField label="Password" name="password" type="password" autoComplete="current-password" required />
      {choices.length > 0 && (
        <Select label="Organization" name="organization" hint="Several know this address and password.">
          {choices.map(({ org_id, name }) => (
            <option key={org_id} value={org_id}>
              {name} ({org_id})
            </option>
          ))}
        </Select>
      )}
      {choices.length === 0 && <Problem error={login.error} />}
      <Button kind="primary" type="submit" busy={login.isPending}>
        Sign in
      </Button>
    </form>
  )
}

function ProviderForm({ wanted }: { wanted: string | null }) {
  const [kept] = useState(() => localStorage.getItem(ORGANIZATION_KEY) ?? '')
  const start = useMutation({
    mutationFn: async (organization: string) => {
      const url = urlOf('/v1/auth/oidc/start', { query: { organization } })
      await assertStarts(url)
      localStorage.setItem(ORGANIZATION_KEY, organization)
      keepReturn(safeReturn(wanted))
      location.assign(url)
      // Stays busy until the browser has left.
      await new Promise<never>(() => undefined)
    },
  })
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault()
    start.mutate(fieldOf(new FormData(event.currentTarget), 'organization'))
  }
  return (
    <form method="post" onSubmit={submit} className="flex flex-col gap-3">
      <TextField
        label="Organization"
        name="organization"
        defaultValue={kept}
        hint="Its id, such as org_default. Your administrator knows it."
        autoComplete="organization"
        required
        autoFocus
      />
      <Problem error={start.error} />
      <Button kind="primary" type="submit" busy={start.isPending}>
        Continue to your identity provider
      </Button>
    </form>
  )
}

/** Asks first without following: a refusal is shown here, not as a page of JSON. */
async function assertStarts(url: string): Promise<void> {
  let answer: Response
  try {
    answer = await fetch(url, { redirect: 'manual', cache: 'no-store' })
  } catch (cause) {
    throw new Unreachable(cause)
  }
  if (answer.type === 'opaqueredirect') return
  throw new ApiProblem((await answer.json()) as Schemas['Problem'], null)
}
