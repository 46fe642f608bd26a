'use client'

import { exactTime, duration, useNow } from '@/lib/time'
import { usePeople } from '@/lib/names'

/**
 * Text that somebody else chose: an action, a resource, a name. It is set apart from the words around it (`bdi`), so
 * that signs which turn the direction of writing turn nothing but itself, and those that cannot be seen are shown.
 */
export function Foreign({ text, mono = false }: { text: string; mono?: boolean }) {
  return <bdi className={`break-words ${mono ? 'font-mono text-[0.925em]' : ''}`}>{visible(text)}</bdi>
}

/** Controls, signs of direction and of no width, as their code points: `⟨U+202E⟩`. Tabs and line ends stay. */
export const visible = (text: string): string =>
  text.replace(
    // eslint-disable-next-line no-control-regex -- to show controls is what this is for
    /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g,
    (sign) => `⟨U+${sign.charCodeAt(0).toString(16).toUpperCase().padStart(4, '0')}⟩`,
  )

/** A JSON value as text. */
export function Json({ value, label }: { value: unknown; label: string }) {
  return (
    <pre
      dir="ltr"
      tabIndex={0}
      aria-label={label}
      className="max-h-96 overflow-auto rounded-md border border-line bg-sunken px-3 py-2 font-mono text-xs leading-relaxed whitespace-pre-wrap [overflow-wrap:anywhere]"
    >
      {visible(JSON.stringify(value, null, 2))}
    </pre>
  )
}

export function Id({ id }: { id: string }) {
  return <span className="font-mono text-xs break-all text-soft">{id}</span>
}

/** A person or key by name where it is known, else by id. */
export function Who({ id }: { id: string }) {
  const nameOf = usePeople()
  const name = nameOf(id)
  if (id === 'root') return <>root key</>
  if (id === 'system') return <>AgentGuard itself</>
  return name === null ? (
    <Id id={id} />
  ) : (
    <span title={id}>
      <Foreign text={name} />
    </span>
  )
}

/** A moment: how long ago, and exactly on hover. */
export function Time({ at }: { at: string }) {
  const now = useNow()
  const seconds = (now - Date.parse(at)) / 1000
  const text = seconds < 0 ? `in ${duration(-seconds)}` : seconds < 5 ? 'just now' : `${coarse(seconds)} ago`
  return (
    <time dateTime={at} title={exactTime(at)} className="whitespace-nowrap">
      {text}
    </time>
  )
}

const coarse = (seconds: number): string => duration(seconds).split(' ').slice(0, 2).join(' ')

/** Both: for what is read closely. */
export function ExactTime({ at }: { at: string }) {
  return (
    <time dateTime={at} title={at}>
      {exactTime(at)}
    </time>
  )
}
