import { Shield } from 'lucide-react'
import type { ReactNode } from 'react'

/** The frame of pages before somebody is signed in. */
export function Door({ title, lead, children }: { title: string; lead?: ReactNode; children: ReactNode }) {
  return (
    <main className="flex min-h-dvh items-start justify-center px-4 py-[12vh]">
      <div className="w-full max-w-sm">
        <div className="mb-5 flex items-center gap-2 font-semibold tracking-tight">
          <Shield aria-hidden className="size-5 text-accent" />
          AgentGuard
        </div>
        <div className="rounded-lg border border-line bg-surface p-5">
          <h1 className="text-base font-semibold">{title}</h1>
          {lead !== undefined && <p className="mt-1 text-[13px] text-soft">{lead}</p>}
          <div className="mt-4">{children}</div>
        </div>
      </div>
    </main>
  )
}
