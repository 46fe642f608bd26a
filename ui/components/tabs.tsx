import Link from 'next/link'

interface Tab {
  readonly href: string
  readonly label: string
  readonly current: boolean
  readonly count?: number | undefined
}

/** Views of one list. Each is a place of its own, so that it can be linked to and gone back to. */
export function Tabs({ label, tabs }: { label: string; tabs: readonly Tab[] }) {
  return (
    <nav aria-label={label} className="mb-4 flex gap-1 overflow-x-auto border-b border-line">
      {tabs.map(({ href, label: text, current, count }) => (
        <Link
          key={href}
          href={href}
          prefetch={false}
          aria-current={current ? 'page' : undefined}
          className={`-mb-px border-b-2 px-3 py-2 text-[13px] whitespace-nowrap ${
            current ? 'border-accent font-medium text-ink' : 'border-transparent text-soft hover:text-ink'
          }`}
        >
          {text}
          {count !== undefined && count > 0 && (
            <span className="ml-1.5 rounded bg-sunken px-1.5 py-0.5 text-xs tabular-nums">{count}</span>
          )}
        </Link>
      ))}
    </nav>
  )
}
