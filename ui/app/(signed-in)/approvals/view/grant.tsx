'use client'

import { useMutation, useQueryClient } from '@tanstack/react-query'
import { useState } from 'react'
import { Button, TextArea } from '@/components/controls'
import { Dialog, DialogActions } from '@/components/dialog'
import { Fact, Facts, Panel } from '@/components/layout'
import { Problem } from '@/components/problem'
import { ExactTime, Foreign, Who } from '@/components/text'
import { useToast } from '@/components/toasts'
import { api, type Schemas } from '@/lib/api'
import { isUsable } from '@/lib/approvals'
import { useSession } from '@/lib/session'
import { useNow } from '@/lib/time'

type Request = Schemas['ApprovalRequest']

/** What was decided, and what is left of what was granted. */
export function Grant({ request }: { request: Request }) {
  const { may } = useSession()
  const now = useNow()
  const [revoking, setRevoking] = useState(false)
  const { decision_by, decision_at, decision_reason, grant, status } = request
  if (status === 'pending') return null
  return (
    <Panel title="Decision">
      <Facts>
        {decision_by !== null && (
          <Fact name="By">
            <Who id={decision_by} />
          </Fact>
        )}
        {decision_at !== null && (
          <Fact name="At">
            <ExactTime at={decision_at} />
          </Fact>
        )}
        {decision_reason !== null && (
          <Fact name="Reason">
            <Foreign text={decision_reason} />
          </Fact>
        )}
        {grant !== null && (
          <>
            <Fact name="Granted">
              {grant.scope === null ? (
                'exactly this request'
              ) : (
                <>
                  <strong className="font-medium text-warn">more than this request:</strong>{' '}
                  <Foreign text={grant.scope.action} mono /> on{' '}
                  {grant.scope.resource === null ? (
                    'any resource'
                  ) : (
                    <Foreign text={grant.scope.resource} mono />
                  )}
                </>
              )}
            </Fact>
            <Fact name="Used">
              {grant.used} of {grant.uses}
            </Fact>
            <Fact name="Until">
              <ExactTime at={grant.expires_at} />
            </Fact>
          </>
        )}
      </Facts>
      {isUsable(request, now) && may('approvals:decide') && (
        <Button className="mt-4 w-full" onClick={() => setRevoking(true)}>
          Take back what is left…
        </Button>
      )}
      <Revoke request={request} open={revoking} onClose={() => setRevoking(false)} />
    </Panel>
  )
}

function Revoke({ request, open, onClose }: { request: Request; open: boolean; onClose: () => void }) {
  const client = useQueryClient()
  const say = useToast()
  const [reason, setReason] = useState('')
  const revoke = useMutation({
    mutationFn: () =>
      api.post('/v1/approvals/{approval_id}/revoke', {
        path: { approval_id: request.approval_id },
        body: { reason: reason.trim() },
      }),
    onSuccess: () => {
      say('What was left of the grant is taken back.')
      onClose()
    },
    onSettled: () => client.invalidateQueries({ queryKey: ['approvals'] }),
  })
  return (
    <Dialog title="Take back what is left" open={open} onClose={onClose}>
      <p className="text-[13px] text-soft">
        The agent cannot use it any more. What was used before stays done.
      </p>
      <TextArea
        label="Reason"
        hint="Told to the agent and kept in the log."
        value={reason}
        onChange={(event) => setReason(event.target.value)}
        maxLength={2000}
        required
      />
      <Problem error={revoke.error} />
      <DialogActions>
        <Button onClick={onClose}>Cancel</Button>
        <Button
          kind="danger"
          disabled={reason.trim() === ''}
          busy={revoke.isPending}
          onClick={() => revoke.mutate()}
        >
          Take it back
        </Button>
      </DialogActions>
    </Dialog>
  )
}
