'use client'

import { useQueryClient } from '@tanstack/react-query'
import { createContext, type ReactNode, useContext, useEffect, useState } from 'react'
import { useSession } from './session'

/** Used when there is no stream: how often lists are asked for again. */
const POLL_MS = 10_000
const REOPEN_MS = 10_000

/** Events of the log that concern what pages show, and the lists that are then asked for again. */
const CONCERNS: Readonly<Record<string, readonly string[]>> = {
  approvals: [
    'requested',
    'voted',
    'escalated',
    'approved',
    'denied',
    'expired',
    'cancelled',
    'revoked',
    'used',
    'refused',
  ].map((past) => `approval.${past}`),
  'kill-switch': ['kill_switch.activated', 'kill_switch.deactivated'],
}

const Context = createContext(false)

/** Whether events arrive as they happen. */
export const useIsLive = (): boolean => useContext(Context)

/** How often a list is to be asked for again: never while events arrive by themselves. */
export const useRefetchInterval = (): number | false => (useContext(Context) ? false : POLL_MS)

/**
 * Follows `GET /events` and has the lists asked for again that an event concerns. A tab that nobody looks at lets go of
 * its stream: browsers open six connections to a server, and a stream would keep one.
 */
export function Live({ children }: { children: ReactNode }) {
  const { may } = useSession()
  const client = useQueryClient()
  const [live, setLive] = useState(false)
  const allowed = may('events:read') && (may('approvals:read') || may('kill-switch:read'))

  useEffect(() => {
    if (!allowed) return
    let source: EventSource | null = null
    let again: ReturnType<typeof setTimeout> | undefined

    // An answer that is awaited may be from before the event, so it is not waited for.
    const refresh = (list: string) =>
      void client
        .cancelQueries({ queryKey: [list] })
        .then(() => client.invalidateQueries({ queryKey: [list] }))
    const close = () => {
      clearTimeout(again)
      source?.close()
      source = null
      setLive(false)
    }
    const open = () => {
      if (source || document.hidden) return
      source = new EventSource('/v1/events?types=approval,kill')
      source.onopen = () => {
        setLive(true)
        // Whatever happened while nobody listened.
        for (const list of Object.keys(CONCERNS)) refresh(list)
      }
      source.onerror = () => {
        setLive(false)
        if (source?.readyState !== EventSource.CLOSED) return // the browser tries again by itself
        close()
        again = setTimeout(open, REOPEN_MS)
        // Refused: perhaps because the session is over.
        void client.invalidateQueries({ queryKey: ['me'] })
      }
      for (const [list, names] of Object.entries(CONCERNS))
        for (const name of names) source.addEventListener(name, () => refresh(list))
    }
    const onVisibility = () => {
      if (document.hidden) return close()
      open()
    }
    open()
    document.addEventListener('visibilitychange', onVisibility)
    return () => {
      document.removeEventListener('visibilitychange', onVisibility)
      close()
    }
  }, [allowed, client])

  return <Context.Provider value={live}>{children}</Context.Provider>
}
