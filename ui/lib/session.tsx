'use client'

import { useQuery } from '@tanstack/react-query'
import { useRouter } from 'next/navigation'
import { createContext, type ReactNode, useContext, useEffect } from 'react'
import { Problem } from '@/components/problem'
import { Loading } from '@/components/states'
import { api, isUnauthenticated, type Schemas } from './api'
import { signInPlace } from './navigation'
import type { Permission } from './permissions'

export interface Session {
  readonly me: Schemas['Me']
  /** Hides what would be refused; the API is the one that refuses it. */
  readonly may: (permission: Permission) => boolean
}

const Context = createContext<Session | null>(null)

export function useSession(): Session {
  const session = useContext(Context)
  if (!session) throw new Error('useSession outside of SessionGate')
  return session
}

/** Shows its children to who is signed in, and sends everybody else to the sign-in page and back here afterwards. */
export function SessionGate({ children }: { children: ReactNode }) {
  const router = useRouter()
  const {
    data: me,
    error,
    refetch,
  } = useQuery({
    queryKey: ['me'],
    queryFn: ({ signal }) => api.get('/v1/auth/me', { signal }),
    staleTime: 60_000,
  })
  const signedOut = isUnauthenticated(error)
  useEffect(() => {
    if (signedOut) router.replace(signInPlace())
  }, [signedOut, router])

  if (error && !signedOut) {
    return (
      <main className="mx-auto max-w-xl p-6">
        <Problem error={error} onRetry={() => void refetch()} />
      </main>
    )
  }
  if (!me || signedOut) return <Loading what="your session" className="p-10" />
  const held = new Set(me.permissions)
  const session = { me, may: (permission: Permission) => held.has(permission) }
  return <Context.Provider value={session}>{children}</Context.Provider>
}
