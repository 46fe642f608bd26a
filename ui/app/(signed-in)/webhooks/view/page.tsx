import type { Metadata } from 'next'
import { Suspense } from 'react'
import { Loading } from '@/components/states'
import { WebhookView } from './webhook'

export const metadata: Metadata = { title: 'Webhook' }

export default function WebhookPage() {
  return (
    <Suspense fallback={<Loading what="the webhook" />}>
      <WebhookView />
    </Suspense>
  )
}
