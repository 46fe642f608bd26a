'use client'

import { Button } from '@/components/controls'
import { Door } from '@/components/door'

/** A defect of the page itself. What it was about is unchanged: only the API changes anything. */
export default function PageError({ reset }: { reset: () => void }) {
  return (
    <Door title="This page failed" lead="Nothing was changed by that.">
      <Button kind="primary" onClick={reset}>
        Show it again
      </Button>
    </Door>
  )
}
