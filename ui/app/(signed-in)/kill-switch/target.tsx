'use client'

import { Foreign } from '@/components/text'
import type { KillSwitch } from '@/lib/kill-switch'
import { useAgent } from '@/lib/names'

/** What a switch stops, by name where it has one. */
export function Target({ kill: { scope, target } }: { kill: Pick<KillSwitch, 'scope' | 'target'> }) {
  const agent = useAgent(scope === 'agent' ? target : null)
  if (target === null) return null
  if (!agent) return <Foreign text={target} mono />
  return (
    <span title={target}>
      <Foreign text={agent.name} />
    </span>
  )
}
