import type { Metadata } from 'next'
import { Suspense } from 'react'
import { Loading } from '@/components/states'
import { Quality } from './quality'

export const metadata: Metadata = { title: 'Approval quality' }

export default function QualityPage() {
  return (
    <Suspense fallback={<Loading what="the report" />}>
      <Quality />
    </Suspense>
  )
}
