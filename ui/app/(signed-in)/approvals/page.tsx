import type { Metadata } from 'next'
import { Suspense } from 'react'
import { Loading } from '@/components/states'
import { Approvals } from './approvals'

export const metadata: Metadata = { title: 'Approvals' }

export default function ApprovalsPage() {
  return (
    <Suspense fallback={<Loading what="approvals" />}>
      <Approvals />
    </Suspense>
  )
}
