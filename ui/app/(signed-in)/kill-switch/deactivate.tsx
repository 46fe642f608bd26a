'use client'

import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query'
import { type FormEvent, useState } from 'react'
import { Button, TextArea } from '@/components/controls'
import { Dialog, DialogActions } from '@/components/dialog'
import { fieldError, Problem } from '@/components/problem'
import { Foreign, Who } from '@/components/text'
import { useToast } from '@/components/toasts'
import { api } from '@/lib/api'
import { type KillSwitch, SCOPE_WORDS } from '@/lib/kill-switch'
import { Target } from './target'

export function Deactivate({ kill, onClose }: { kill: KillSwitch | null; onClose: () => void }) {
  return (
    <Dialog title="Let it go on" open={kill !== null} onClose={onClose}>
      {kill && <Form kill={kill} onClose={onClose} />}
    </Dialog>
  )
}

function Form({ kill, onClose }: { kill: KillSwitch; onClose: () => void }) {
  const client = useQueryClient()
  const say = useToast()
  const [reason, setReason] = useState('')
  const deactivate = useMutation({
    mutationFn: () =>
      api.post('/v1/kill-switch/deactivate', { body: { kill_id: kill.kill_id, reason: reason.trim() } }),
    onSuccess: (answer) => {
      say(
        answer.state === 'active'
          ? 'Your part is recorded. It stays stopped until a second person asks as well.'
          : 'It goes on.',
      )
      onClose()
    },
    onSettled: () => client.invalidateQueries({ queryKey: ['kill-switch'] }),
  })
  const submit = (event: FormEvent) => {
    event.preventDefault()
    if (reason.trim() !== '') deactivate.mutate()
  }
  return (
    <form onSubmit={submit} className="flex flex-col gap-3">
      <p className="text-[13px]">
        {SCOPE_WORDS[kill.scope]} <Target kill={kill} />, stopped by <Who id={kill.activated_by} />: “
        <Foreign text={kill.reason} />”
      </p>
      {kill.scope === 'organization' && <TwoPeople kill={kill} />}
      <TextArea
        label="Why it may go on"
        hint="Kept in the log for good, so name no secrets."
        value={reason}
        onChange={(event) => setReason(event.target.value)}
        maxLength={1000}
        error={fieldError(deactivate.error, 'reason')}
        required
      />
      <Problem error={deactivate.error} />
      <DialogActions>
        <Button onClick={onClose}>Cancel</Button>
        <Button kind="primary" type="submit" disabled={reason.trim() === ''} busy={deactivate.isPending}>
          Let it go on
        </Button>
      </DialogActions>
    </form>
  )
}

/** What the organization has set about ending its own switch. */
function TwoPeople({ kill }: { kill: KillSwitch }) {
  const { data } = useQuery({
    queryKey: ['kill-switch', 'settings'],
    queryFn: ({ signal }) => api.get('/v1/kill-switch/settings', { signal }),
    retry: false,
  })
  if (!data?.two_people) return null
  return (
    <p className="rounded-md bg-warn-wash px-3 py-2 text-[13px] text-warn">
      {kill.release === null
        ? 'This organization wants two people for that: after you, somebody else has 15 minutes to ask as well.'
        : 'Somebody has asked already. If you are somebody else, your asking ends it.'}
    </p>
  )
}
