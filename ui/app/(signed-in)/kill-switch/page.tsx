import type { Metadata } from 'next'
import { Suspense } from 'react'
import { Loading } from '@/components/states'
import { KillSwitches } from './kill-switches'

export const metadata: Metadata = { title: 'Kill switch' }

export default function KillSwitchPage() {
  return (
    <Suspense fallback={<Loading what="the kill switch" />}>
      <KillSwitches />
    </Suspense>
  )
}
