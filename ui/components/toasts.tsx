'use client'

import { createContext, type ReactNode, useCallback, useContext, useState } from 'react'

const SHOWN_MS = 6_000

interface Toast {
  readonly id: number
  readonly text: string
}

const Context = createContext<(text: string) => void>(() => undefined)

/** Says briefly that something was done. */
export const useToast = (): ((text: string) => void) => useContext(Context)

export function Toasts({ children }: { children: ReactNode }) {
  const [toasts, setToasts] = useState<readonly Toast[]>([])
  const say = useCallback((text: string) => {
    const id = performance.now()
    setToasts((shown) => [...shown, { id, text }])
    setTimeout(() => setToasts((shown) => shown.filter((toast) => toast.id !== id)), SHOWN_MS)
  }, [])
  return (
    <Context.Provider value={say}>
      {children}
      <div
        role="status"
        className="pointer-events-none fixed inset-x-0 bottom-4 z-50 flex flex-col items-center gap-2 px-4"
      >
        {toasts.map(({ id, text }) => (
          <div key={id} className="max-w-md rounded-md bg-ink px-3.5 py-2 text-[13px] text-canvas shadow-lg">
            {text}
          </div>
        ))}
      </div>
    </Context.Provider>
  )
}
