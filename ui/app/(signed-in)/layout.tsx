import type { ReactNode } from 'react'
import { Shell } from '@/components/shell'
import { Live } from '@/lib/live'
import { SessionGate } from '@/lib/session'

export default function SignedInLayout({ children }: { children: ReactNode }) {
  return (
    <SessionGate>
      <Live>
        <Shell>{children}</Shell>
      </Live>
    </SessionGate>
  )
}
