'use client'

import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query'
import { type FormEvent, useState } from 'react'
import { Button, Select, TextArea, TextField } from '@/components/controls'
import { Dialog, DialogActions } from '@/components/dialog'
import { fieldError, Problem } from '@/components/problem'
import { visible } from '@/components/text'
import { useToast } from '@/components/toasts'
import { api, type Schemas } from '@/lib/api'
import { type KillScope, SCOPE_WORDS } from '@/lib/kill-switch'
import { useSession } from '@/lib/session'

/** `installation` is for the root key alone, which nobody signs in with. */
const SCOPES: readonly KillScope[] = ['organization', 'environment', 'team', 'agent', 'key', 'action']
const WITHIN_TEAM: ReadonlySet<KillScope> = new Set(['team', 'agent', 'key'])

export function Activate({ open, onClose }: { open: boolean; onClose: () => void }) {
  return (
    <Dialog title="Stop something" open={open} onClose={onClose}>
      <Form onClose={onClose} />
    </Dialog>
  )
}

/** What, why, and the name of it typed once more: this stops real work. */
function Form({ onClose }: { onClose: () => void }) {
  const { me } = useSession()
  const client = useQueryClient()
  const say = useToast()
  const scopes = me.member?.team ? SCOPES.filter((scope) => WITHIN_TEAM.has(scope)) : SCOPES
  const [scope, setScope] = useState<KillScope>(scopes.includes('agent') ? 'agent' : (scopes[0] ?? 'team'))
  const [target, setTarget] = useState('')
  const [reason, setReason] = useState('')
  const [typed, setTyped] = useState('')
  const activate = useMutation({
    mutationFn: (body: Schemas['ActivateKillSwitch']) => api.post('/v1/kill-switch/activate', { body }),
    onSuccess: () => {
      say('Stopped. It holds on every replica.')
      onClose()
    },
    onSettled: () => client.invalidateQueries({ queryKey: ['kill-switch'] }),
  })
  const whole = scope === 'organization'
  const phrase = whole ? me.organization.name : target.trim()
  const ready = phrase !== '' && typed.trim() === phrase && reason.trim() !== ''
  const submit = (event: FormEvent) => {
    event.preventDefault()
    if (ready) activate.mutate({ scope, reason: reason.trim(), ...(!whole && { target: target.trim() }) })
  }
  return (
    <form onSubmit={submit} className="flex flex-col gap-3">
      <Select
        label="What"
        value={scope}
        onChange={(event) => {
          setScope(event.target.value as KillScope)
          setTarget('')
          setTyped('')
        }}
      >
        {scopes.map((one) => (
          <option key={one} value={one}>
            {SCOPE_WORDS[one]}
          </option>
        ))}
      </Select>
      <TargetField
        scope={scope}
        target={target}
        onChange={setTarget}
        error={fieldError(activate.error, 'target')}
      />
      <TextArea
        label="Why"
        hint="Kept in the log for good, so name no secrets."
        value={reason}
        onChange={(event) => setReason(event.target.value)}
        maxLength={1000}
        error={fieldError(activate.error, 'reason')}
        required
      />
      {phrase !== '' && (
        <TextField
          label={`Type ${visible(phrase)} to confirm`}
          value={typed}
          onChange={(event) => setTyped(event.target.value)}
          autoComplete="off"
          spellCheck={false}
          className="font-mono"
        />
      )}
      <Problem error={activate.error} />
      <DialogActions>
        <Button onClick={onClose}>Cancel</Button>
        <Button kind="danger" type="submit" disabled={!ready} busy={activate.isPending}>
          Stop it now
        </Button>
      </DialogActions>
    </form>
  )
}

interface TargetProps {
  scope: KillScope
  target: string
  onChange: (target: string) => void
  error: string | undefined
}

function TargetField({ scope, target, onChange, error }: TargetProps) {
  const common = {
    value: target,
    error,
    required: true,
    onChange: (event: { target: { value: string } }) => onChange(event.target.value),
  }
  switch (scope) {
    case 'installation':
    case 'organization':
      return null
    case 'environment':
      return (
        <Select label="Environment" {...common}>
          <option value="">Choose…</option>
          {['dev', 'stage', 'prod'].map((name) => (
            <option key={name}>{name}</option>
          ))}
        </Select>
      )
    case 'team':
      return <TeamField {...common} />
    case 'agent':
      return <AgentField label="Agent" {...common} />
    case 'key':
      return <KeyField {...common} />
    case 'action':
      return (
        <TextField
          label="Action pattern"
          placeholder="send:*"
          hint="Read as widely as in a deny rule."
          maxLength={256}
          className="font-mono"
          spellCheck={false}
          {...common}
        />
      )
  }
}

interface FieldProps {
  value: string
  error: string | undefined
  required: boolean
  onChange: (event: { target: { value: string } }) => void
}

function TeamField(props: FieldProps) {
  const { me } = useSession()
  const { data, error } = useQuery({
    queryKey: ['teams'],
    queryFn: ({ signal }) => api.get('/v1/teams', { query: { limit: 1000 }, signal }),
    retry: false,
  })
  if (error) return <TextField label="Team" {...props} />
  const teams = data
    ?.map(({ team }) => team)
    .filter((team) => me.member?.team == null || team === me.member.team)
  return (
    <Select label="Team" {...props}>
      <option value="">{data ? 'Choose…' : 'Loading…'}</option>
      {teams?.map((team) => (
        <option key={team} value={team}>
          {visible(team)}
        </option>
      ))}
    </Select>
  )
}

function AgentField({ label, ...props }: FieldProps & { label: string }) {
  const { may } = useSession()
  const { data, error } = useQuery({
    queryKey: ['agents', 'list'],
    queryFn: ({ signal }) => api.list('/v1/agents', { query: { limit: 1000 }, signal }),
    enabled: may('agents:read'),
    retry: false,
  })
  // More than a list can hold, or none that may be seen: the id itself.
  if (error || !may('agents:read') || (data && data.total > data.items.length))
    return <TextField label={`${label} id`} placeholder="agt_…" className="font-mono" {...props} />
  return (
    <Select label={label} {...props}>
      <option value="">{data ? 'Choose…' : 'Loading…'}</option>
      {data?.items.map(({ agent_id, name, environment }) => (
        <option key={agent_id} value={agent_id}>
          {visible(name)} ({environment}, {agent_id})
        </option>
      ))}
    </Select>
  )
}

function KeyField(props: FieldProps) {
  const [agent_id, setAgent] = useState('')
  const { data } = useQuery({
    queryKey: ['agents', agent_id, 'keys'],
    queryFn: ({ signal }) =>
      api.get('/v1/agents/{agent_id}/keys', { path: { agent_id }, query: { limit: 1000 }, signal }),
    enabled: agent_id !== '',
    retry: false,
  })
  const choose = (event: { target: { value: string } }) => {
    setAgent(event.target.value)
    props.onChange({ target: { value: '' } })
  }
  return (
    <>
      <AgentField label="Agent of the key" value={agent_id} error={undefined} required onChange={choose} />
      <Select label="Key" {...props} disabled={!data}>
        <option value="">Choose…</option>
        {data?.map(({ key_id, key_prefix, state }) => (
          <option key={key_id} value={key_id}>
            {key_prefix}… ({state}, {key_id})
          </option>
        ))}
      </Select>
    </>
  )
}
