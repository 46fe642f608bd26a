import type { Metadata } from 'next'
import { Suspense } from 'react'
import { Loading } from '@/components/states'
import { ApprovalView } from './approval'

export const metadata: Metadata = { title: 'Approval' }

export default function ApprovalPage() {
  return (
    <Suspense fallback={<Loading what="the request" />}>
      <ApprovalView />
    </Suspense>
  )
}
