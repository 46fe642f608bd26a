import type { Metadata } from 'next'
import { Suspense } from 'react'
import { Loading } from '@/components/states'
import { EntryView } from './entry'

export const metadata: Metadata = { title: 'Log entry' }

export default function EntryPage() {
  return (
    <Suspense fallback={<Loading what="the entry" />}>
      <EntryView />
    </Suspense>
  )
}
