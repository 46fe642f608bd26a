import type { ReactNode } from 'react'

/** Something is on its way. Said to screen readers, shown as grey lines to others. */
export function Loading({
  what,
  rows = 3,
  className = '',
}: {
  what: string
  rows?: number
  className?: string
}) {
  return (
    <div role="status" className={`flex flex-col gap-2.5 ${className}`}>
      <span className="sr-only">Loading {what}</span>
      {Array.from({ length: rows }, (_, i) => (
        <div
          key={i}
          aria-hidden
          className={`h-4 animate-pulse rounded bg-sunken ${i % 3 === 2 ? 'w-2/3' : 'w-full'}`}
        />
      ))}
    </div>
  )
}

/** There is nothing, and that is no mistake. */
export function Empty({ title, children }: { title: string; children?: ReactNode }) {
  return (
    <div className="px-4 py-7 text-center">
      <p className="font-medium">{title}</p>
      {children !== undefined && (
        <div className="mx-auto mt-1 max-w-md text-[13px] text-soft">{children}</div>
      )}
    </div>
  )
}
