import type { Metadata } from 'next'
import type { ReactNode } from 'react'
import { Queries } from '@/lib/queries'
import { Toasts } from '@/components/toasts'
import { BASE } from '@/lib/navigation'
import './globals.css'

export const metadata: Metadata = {
  title: { default: 'AgentGuard', template: '%s · AgentGuard' },
  description: 'The control plane AI agents ask before they act',
  referrer: 'no-referrer',
}

export default function RootLayout({ children }: { children: ReactNode }) {
  return (
    <html lang="en" suppressHydrationWarning>
      <head>
        {/* Blocks on purpose, for a moment: see the file. */}
        <script src={`${BASE}/theme.js`} />
      </head>
      <body>
        <Queries>
          <Toasts>{children}</Toasts>
        </Queries>
      </body>
    </html>
  )
}
