'use client'

import { type FormEvent, useState } from 'react'
import { Button, TextField } from '@/components/controls'
import { Dialog, DialogActions } from '@/components/dialog'
import { Fact, Facts } from '@/components/layout'
import { fieldError, Problem } from '@/components/problem'
import { Foreign } from '@/components/text'
import type { Schemas } from '@/lib/api'
import { fieldOf } from '@/lib/form'
import { useAgent } from '@/lib/names'
import { duration } from '@/lib/time'

interface WiderGrantProps {
  request: Schemas['ApprovalRequest']
  widest: Schemas['ApprovalWidestGrant']
  open: boolean
  onClose: () => void
  busy: boolean
  error: unknown
  onGrant: (grant: Schemas['WiderGrant']) => void
}

/** Granting more than was asked for, in two steps: what, and then whether one means it. */
export function WiderGrant({ request, widest, open, onClose, busy, error, onGrant }: WiderGrantProps) {
  const [grant, setGrant] = useState<Schemas['WiderGrant'] | null>(null)
  const close = () => {
    setGrant(null)
    onClose()
  }
  return (
    <Dialog
      title={grant === null ? 'Grant more than this request' : 'Do you mean all of this?'}
      open={open}
      onClose={close}
    >
      {grant === null ? (
        <Choose request={request} widest={widest} onCancel={close} onChosen={setGrant} />
      ) : (
        <Confirm
          request={request}
          grant={grant}
          busy={busy}
          error={error}
          onBack={() => setGrant(null)}
          onGrant={onGrant}
        />
      )}
    </Dialog>
  )
}

interface ChooseProps {
  request: Schemas['ApprovalRequest']
  widest: Schemas['ApprovalWidestGrant']
  onCancel: () => void
  onChosen: (grant: Schemas['WiderGrant']) => void
}

function Choose({ request, widest, onCancel, onChosen }: ChooseProps) {
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault()
    const form = new FormData(event.currentTarget)
    const resource = fieldOf(form, 'resource')
    onChosen({
      action: fieldOf(form, 'action'),
      ...(resource !== '' && { resource }),
      seconds: Math.round(Number(fieldOf(form, 'minutes')) * 60),
      uses: Number(fieldOf(form, 'uses')),
    })
  }
  return (
    <form onSubmit={submit} className="flex flex-col gap-3">
      <p className="text-[13px] text-soft">
        The agent may then do everything that matches without asking again, until the time or the uses are
        over. It must cover the request that waits.
      </p>
      <TextField
        label="Action pattern"
        name="action"
        defaultValue={request.action}
        required
        maxLength={256}
        className="font-mono"
        hint="Such as read:* for all that is read."
      />
      <TextField
        label="Resource pattern"
        name="resource"
        defaultValue={request.resource ?? ''}
        maxLength={2048}
        className="font-mono"
        hint="Empty: any resource."
      />
      <div className="grid grid-cols-2 gap-3">
        <TextField
          label="Minutes"
          name="minutes"
          type="number"
          min={1}
          max={Math.floor(widest.seconds / 60)}
          defaultValue={Math.min(10, Math.floor(widest.seconds / 60))}
          required
          hint={`At most ${duration(widest.seconds)}.`}
        />
        <TextField
          label="Uses"
          name="uses"
          type="number"
          min={1}
          max={widest.uses}
          defaultValue={Math.min(5, widest.uses)}
          required
          hint={`At most ${widest.uses}.`}
        />
      </div>
      <DialogActions>
        <Button onClick={onCancel}>Cancel</Button>
        <Button kind="primary" type="submit">
          Look at what that allows
        </Button>
      </DialogActions>
    </form>
  )
}

interface ConfirmProps {
  request: Schemas['ApprovalRequest']
  grant: Schemas['WiderGrant']
  busy: boolean
  error: unknown
  onBack: () => void
  onGrant: (grant: Schemas['WiderGrant']) => void
}

function Confirm({ request, grant, busy, error, onBack, onGrant }: ConfirmProps) {
  const [meant, setMeant] = useState(false)
  const agent = useAgent(request.agent_id)
  const fields = ['grant.action', 'grant.resource', 'grant.seconds', 'grant.uses']
  return (
    <div className="flex flex-col gap-4">
      <Facts>
        <Fact name="Agent">
          <Foreign text={agent?.name ?? request.agent_id} />
        </Fact>
        <Fact name="Actions">
          <Foreign text={grant.action} mono />
        </Fact>
        <Fact name="Resources">
          {grant.resource === undefined ? 'any' : <Foreign text={grant.resource} mono />}
        </Fact>
        <Fact name="For">{duration(grant.seconds)} after the last approval</Fact>
        <Fact name="Uses">up to {grant.uses}</Fact>
      </Facts>
      <label className="flex items-start gap-2 text-[13px]">
        <input
          type="checkbox"
          checked={meant}
          onChange={(event) => setMeant(event.target.checked)}
          className="mt-0.5"
        />
        <span>I have read this, and mean to allow more than the one request that waits.</span>
      </label>
      <Problem error={error} />
      {fields.some((field) => fieldError(error, field) !== undefined) && (
        <p className="text-[13px] text-soft">Go back and change what is named above.</p>
      )}
      <DialogActions>
        <Button onClick={onBack} disabled={busy}>
          Back
        </Button>
        <Button kind="danger" disabled={!meant} busy={busy} onClick={() => onGrant(grant)}>
          Grant all of this
        </Button>
      </DialogActions>
    </div>
  )
}
