import type { Tone } from '@/components/layout'

/** How a webhook stands, in words. */
export function stateOf(webhook: {
  is_enabled: boolean
  disabled_reason: string | null
  failing_since: string | null
}): {
  word: string
  tone: Tone
} {
  if (!webhook.is_enabled)
    return {
      word: webhook.disabled_reason === 'requested' ? 'switched off' : `disabled: ${webhook.disabled_reason}`,
      tone: 'bad',
    }
  return webhook.failing_since === null
    ? { word: 'working', tone: 'good' }
    : { word: 'failing', tone: 'warn' }
}
