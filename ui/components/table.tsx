'use client'

import type { ReactNode } from 'react'
import { Button } from './controls'

/** A table that scrolls by itself where the screen is narrow. */
export function Table({
  label,
  head,
  children,
}: {
  label: string
  head: readonly ReactNode[]
  children: ReactNode
}) {
  return (
    <div className="overflow-x-auto">
      <table aria-label={label} className="w-full border-collapse text-[13px]">
        <thead>
          <tr className="border-b border-line text-left text-xs text-soft">
            {head.map((name, i) => (
              <th key={i} scope="col" className="px-4 py-2 font-medium whitespace-nowrap">
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody className="divide-y divide-line">{children}</tbody>
      </table>
    </div>
  )
}

export function Cell({ children, className = '' }: { children?: ReactNode; className?: string }) {
  return <td className={`px-4 py-2.5 align-top ${className}`}>{children}</td>
}

interface PagingProps {
  offset: number
  limit: number
  total: number
  onChange: (offset: number) => void
}

export function Paging({ offset, limit, total, onChange }: PagingProps) {
  if (total <= limit && offset === 0) return null
  const last = Math.min(offset + limit, total)
  return (
    <nav
      aria-label="Pages"
      className="flex items-center justify-between gap-3 border-t border-line px-4 py-2.5 text-[13px]"
    >
      <span className="text-soft tabular-nums">
        {total === 0 ? 0 : offset + 1}–{last} of {total}
      </span>
      <span className="flex gap-2">
        <Button disabled={offset === 0} onClick={() => onChange(Math.max(0, offset - limit))}>
          Newer
        </Button>
        <Button disabled={last >= total} onClick={() => onChange(offset + limit)}>
          Older
        </Button>
      </span>
    </nav>
  )
}
