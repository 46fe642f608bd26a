'use client'

import { useRouter } from 'next/navigation'
import { useEffect, useMemo } from 'react'
import { Empty, Loading } from '@/components/states'
import { takeReturn } from '@/lib/navigation'
import { PLACES } from '@/lib/permissions'
import { useSession } from '@/lib/session'

/** Leads on: to where somebody was before they went to their identity provider, or to their first page. */
export default function FirstPage() {
  const router = useRouter()
  const { may } = useSession()
  const first = useMemo(() => PLACES.find(({ permission }) => may(permission))?.href, [may])
  useEffect(() => {
    const place = takeReturn() ?? first
    if (place !== undefined) router.replace(place)
  }, [router, first])
  if (first !== undefined) return <Loading what="your first page" />
  return (
    <Empty title="There is nothing here for you yet">
      Your roles let you open none of the pages. Somebody who manages members can give you one that does.
    </Empty>
  )
}
