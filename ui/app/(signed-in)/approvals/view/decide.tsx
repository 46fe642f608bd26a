'use client'

import { useMutation, useQueryClient } from '@tanstack/react-query'
import { useState } from 'react'
import { Button, TextArea } from '@/components/controls'
import { Panel } from '@/components/layout'
import { fieldError, Problem } from '@/components/problem'
import { useToast } from '@/components/toasts'
import { api, type Schemas } from '@/lib/api'
import { useSession } from '@/lib/session'
import { WiderGrant } from './wider-grant'

type Request = Schemas['ApprovalRequest']

/** Yes or no, with a reason. A reason is asked for always: it is what somebody reads who looks at this in a year. */
export function Decide({ request }: { request: Request }) {
  const { may } = useSession()
  const client = useQueryClient()
  const say = useToast()
  const [reason, setReason] = useState('')
  const [wider, setWider] = useState(false)
  const path = { approval_id: request.approval_id }
  const options = {
    onSettled: () => client.invalidateQueries({ queryKey: ['approvals'] }),
    onSuccess: ({ status }: Schemas['Approval']) => {
      setWider(false)
      setReason('')
      say(status === 'pending' ? 'Your vote is counted. It needs more people.' : `The request is ${status}.`)
    },
  }
  const approve = useMutation({
    mutationFn: (grant?: Schemas['WiderGrant']) =>
      api.post('/v1/approvals/{approval_id}/approve', {
        path,
        body: { reason: reason.trim(), ...(grant && { grant }) },
      }),
    ...options,
  })
  const deny = useMutation({
    mutationFn: () => api.post('/v1/approvals/{approval_id}/deny', { path, body: { reason: reason.trim() } }),
    ...options,
  })
  if (!may('approvals:decide'))
    return (
      <Panel title="Decide">
        <p className="text-[13px] text-soft">Your roles let you see this request, not decide about it.</p>
      </Panel>
    )
  const busy = approve.isPending || deny.isPending
  const missing = reason.trim() === ''
  const error = approve.error ?? deny.error
  const decide = (vote: typeof approve | typeof deny) => {
    approve.reset()
    deny.reset()
    if (vote === deny) deny.mutate()
    else approve.mutate(undefined)
  }
  return (
    <Panel title="Decide">
      <div className="flex flex-col gap-3">
        <TextArea
          label="Reason"
          hint={`Told to the agent and kept in the log.${missing ? ' Needed before you decide.' : ''}`}
          error={fieldError(error, 'reason')}
          value={reason}
          onChange={(event) => setReason(event.target.value)}
          maxLength={2000}
          required
        />
        <Problem error={error} />
        <div className="grid grid-cols-2 gap-2">
          <Button
            kind="primary"
            disabled={missing || busy || request.redacted}
            busy={approve.isPending}
            onClick={() => decide(approve)}
          >
            Approve once
          </Button>
          <Button kind="danger" disabled={missing || busy} busy={deny.isPending} onClick={() => decide(deny)}>
            Deny
          </Button>
        </div>
        {request.terms.widest_grant !== null && !request.redacted && (
          <Button kind="quiet" disabled={missing || busy} onClick={() => setWider(true)}>
            Grant more than this request…
          </Button>
        )}
      </div>
      {request.terms.widest_grant !== null && (
        <WiderGrant
          request={request}
          widest={request.terms.widest_grant}
          open={wider}
          onClose={() => setWider(false)}
          busy={approve.isPending}
          error={approve.error}
          onGrant={(grant) => approve.mutate(grant)}
        />
      )}
    </Panel>
  )
}
