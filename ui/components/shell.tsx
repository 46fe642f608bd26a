'use client'

import { useMutation } from '@tanstack/react-query'
import { LogOut, Monitor, Moon, Shield, Sun } from 'lucide-react'
import Link from 'next/link'
import { usePathname } from 'next/navigation'
import { type ReactNode, useSyncExternalStore } from 'react'
import { api } from '@/lib/api'
import { useIsLive } from '@/lib/live'
import { BASE } from '@/lib/navigation'
import { PLACES } from '@/lib/permissions'
import { useSession } from '@/lib/session'
import { Button } from './controls'
import { Problem } from './problem'
import { Foreign } from './text'

/** The frame of every page: where one can go, who one is, and where. */
export function Shell({ children }: { children: ReactNode }) {
  const { me } = useSession()
  return (
    <div className="flex min-h-dvh flex-col">
      <a
        href="#content"
        className="sr-only z-50 rounded bg-accent px-3 py-2 text-accent-ink focus:not-sr-only focus:absolute focus:top-2 focus:left-2"
      >
        Skip to the page
      </a>
      <header className="sticky top-0 z-20 border-b border-line bg-surface">
        <div className="mx-auto flex max-w-6xl flex-wrap items-center gap-x-4 gap-y-1 px-4 py-2">
          <Link
            href="/"
            prefetch={false}
            className="flex items-center gap-2 py-1 font-semibold tracking-tight"
          >
            <Shield aria-hidden className="size-4 text-accent" />
            AgentGuard
          </Link>
          <span aria-hidden className="h-4 w-px bg-line-strong" />
          <span title={me.organization.org_id} className="max-w-48 truncate text-[13px] text-soft">
            <span className="sr-only">Organization: </span>
            <Foreign text={me.organization.name} />
          </span>
          <div className="ml-auto flex items-center gap-1">
            <Stream />
            <ThemeButton />
            <Person />
          </div>
        </div>
        <Navigation />
      </header>
      <main id="content" tabIndex={-1} className="mx-auto w-full max-w-6xl flex-1 px-4 py-6 outline-none">
        {children}
      </main>
    </div>
  )
}

function Navigation() {
  const { may } = useSession()
  const path = usePathname()
  return (
    <nav aria-label="Pages" className="mx-auto flex max-w-6xl gap-1 overflow-x-auto px-2">
      {PLACES.filter(({ permission }) => may(permission)).map(({ href, label }) => {
        const here = path.startsWith(href)
        return (
          <Link
            key={href}
            href={href}
            prefetch={false}
            aria-current={here ? 'page' : undefined}
            className={`border-b-2 px-2.5 py-2 text-[13px] whitespace-nowrap ${
              here ? 'border-accent font-medium text-ink' : 'border-transparent text-soft hover:text-ink'
            }`}
          >
            {label}
          </Link>
        )
      })}
    </nav>
  )
}

/** Whether what is shown changes by itself at once, or is asked for now and then. */
function Stream() {
  const live = useIsLive()
  return (
    <span
      title={
        live ? 'Changes appear as they happen.' : 'No live stream: lists are asked for every 10 seconds.'
      }
      className="mr-1 hidden items-center gap-1.5 text-xs text-soft sm:flex"
    >
      <span aria-hidden className={`size-2 rounded-full ${live ? 'bg-good' : 'bg-warn'}`} />
      {live ? 'Live' : 'Every 10 s'}
    </span>
  )
}

function Person() {
  const { me } = useSession()
  const signOut = useMutation({
    mutationFn: () => api.post('/v1/auth/logout'),
    // A new document: nothing of what this person saw stays in memory.
    onSuccess: () => location.assign(`${BASE}/sign-in/`),
  })
  const member = me.member
  return (
    <>
      <span className="hidden max-w-64 truncate text-[13px] md:inline" title={member?.email}>
        <Foreign text={member?.name ?? me.kind} />
        {member && (
          <span className="ml-1.5 text-xs text-soft">
            {[...member.roles, member.team].filter(Boolean).join(', ')}
          </span>
        )}
      </span>
      <Button kind="quiet" busy={signOut.isPending} onClick={() => signOut.mutate()} aria-label="Sign out">
        <LogOut aria-hidden className="size-3.5" />
        <span className="hidden sm:inline">Sign out</span>
      </Button>
      {signOut.error !== null && (
        <div className="fixed top-14 right-4 z-30 max-w-sm">
          <Problem error={signOut.error} />
        </div>
      )}
    </>
  )
}

const THEMES = ['system', 'light', 'dark'] as const
type Theme = (typeof THEMES)[number]
const THEME_KEY = 'agentguard.theme'
const ICONS = { system: Monitor, light: Sun, dark: Moon } as const

function readTheme(): Theme {
  const kept = localStorage.getItem(THEME_KEY)
  return kept === 'light' || kept === 'dark' ? kept : 'system'
}

function watchTheme(changed: () => void): () => void {
  addEventListener('agentguard:theme', changed)
  addEventListener('storage', changed)
  return () => {
    removeEventListener('agentguard:theme', changed)
    removeEventListener('storage', changed)
  }
}

function ThemeButton() {
  const theme = useSyncExternalStore<Theme>(watchTheme, readTheme, () => 'system')
  const Icon = ICONS[theme]
  const next = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length] ?? 'system'
  const change = () => {
    if (next === 'system') localStorage.removeItem(THEME_KEY)
    else localStorage.setItem(THEME_KEY, next)
    dispatchEvent(new Event('agentguard:theme'))
  }
  return (
    <Button
      kind="quiet"
      onClick={change}
      aria-label={`Colours: ${theme}. Change to ${next}`}
      title={`Colours: ${theme}`}
    >
      <Icon aria-hidden className="size-3.5" />
    </Button>
  )
}
