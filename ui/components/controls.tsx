'use client'

import Link from 'next/link'
import type {
  ButtonHTMLAttributes,
  ComponentProps,
  InputHTMLAttributes,
  ReactNode,
  SelectHTMLAttributes,
  TextareaHTMLAttributes,
} from 'react'
import { useId } from 'react'

const KINDS = {
  primary: 'bg-accent text-accent-ink border-transparent hover:opacity-90',
  plain: 'bg-surface text-ink border-line-strong hover:bg-sunken',
  danger: 'bg-bad-solid text-white border-transparent hover:opacity-90',
  quiet: 'bg-transparent text-soft border-transparent hover:bg-sunken hover:text-ink',
} as const
export type Kind = keyof typeof KINDS

const SHAPE =
  'inline-flex items-center justify-center gap-1.5 rounded-md border px-3 py-1.5 text-[13px] font-medium whitespace-nowrap transition-colors disabled:opacity-50'

interface ButtonProps extends ButtonHTMLAttributes<HTMLButtonElement> {
  kind?: Kind
  /** What the button has begun and is not done: it cannot be pressed again, and says so. */
  busy?: boolean
}

export function Button({
  kind = 'plain',
  busy = false,
  className = '',
  children,
  disabled,
  ...rest
}: ButtonProps) {
  return (
    <button
      type="button"
      {...rest}
      disabled={disabled === true || busy}
      aria-busy={busy}
      className={`${SHAPE} ${KINDS[kind]} ${className}`}
    >
      {busy && <Spinner />}
      {children}
    </button>
  )
}

export function ButtonLink({
  kind = 'plain',
  className = '',
  ...rest
}: ComponentProps<typeof Link> & { kind?: Kind }) {
  return <Link {...rest} className={`${SHAPE} ${KINDS[kind]} ${className}`} />
}

function Spinner() {
  return (
    <span
      aria-hidden
      className="size-3 animate-spin rounded-full border-2 border-current border-t-transparent opacity-70"
    />
  )
}

const INPUT =
  'w-full rounded-md border border-line-strong bg-surface px-2.5 py-1.5 text-[13px] text-ink placeholder:text-soft disabled:opacity-60 aria-[invalid=true]:border-bad'

interface FieldProps {
  label: string
  hint?: ReactNode
  /** What the API says about this field. */
  error?: string | undefined
}

function Field({ id, label, hint, error, children }: FieldProps & { id: string; children: ReactNode }) {
  return (
    <div className="flex flex-col gap-1">
      <label htmlFor={id} className="text-[13px] font-medium">
        {label}
      </label>
      {children}
      {hint !== undefined && (
        <p id={`${id}-hint`} className="text-xs text-soft">
          {hint}
        </p>
      )}
      {error !== undefined && (
        <p id={`${id}-error`} className="text-xs text-bad">
          {error}
        </p>
      )}
    </div>
  )
}

const described = (id: string, { hint, error }: FieldProps) => ({
  id,
  'aria-invalid': error !== undefined,
  'aria-describedby':
    [hint !== undefined && `${id}-hint`, error !== undefined && `${id}-error`].filter(Boolean).join(' ') ||
    undefined,
})

export function TextField({
  label,
  hint,
  error,
  className = '',
  ...rest
}: FieldProps & InputHTMLAttributes<HTMLInputElement>) {
  const id = useId()
  const field = { label, hint, error }
  return (
    <Field id={id} {...field}>
      <input {...rest} {...described(id, field)} className={`${INPUT} ${className}`} />
    </Field>
  )
}

export function TextArea({
  label,
  hint,
  error,
  className = '',
  ...rest
}: FieldProps & TextareaHTMLAttributes<HTMLTextAreaElement>) {
  const id = useId()
  const field = { label, hint, error }
  return (
    <Field id={id} {...field}>
      <textarea rows={3} {...rest} {...described(id, field)} className={`${INPUT} ${className}`} />
    </Field>
  )
}

export function Select({
  label,
  hint,
  error,
  className = '',
  children,
  ...rest
}: FieldProps & SelectHTMLAttributes<HTMLSelectElement>) {
  const id = useId()
  const field = { label, hint, error }
  return (
    <Field id={id} {...field}>
      <select {...rest} {...described(id, field)} className={`${INPUT} ${className}`}>
        {children}
      </select>
    </Field>
  )
}
