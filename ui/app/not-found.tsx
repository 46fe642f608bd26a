import Link from 'next/link'
import { Door } from '@/components/door'

export default function NotFound() {
  return (
    <Door title="There is no such page" lead="The address leads nowhere in this dashboard.">
      <Link href="/" prefetch={false} className="text-[13px] text-accent underline underline-offset-2">
        Go to the first page
      </Link>
    </Door>
  )
}
