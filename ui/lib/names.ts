import { useQuery } from '@tanstack/react-query'
import { api } from './api'
import { useSession } from './session'

/** Names of people by their ids, for who may see them; others see the ids. */
export function usePeople(): (id: string) => string | null {
  const { may, me } = useSession()
  const { data } = useQuery({
    queryKey: ['members'],
    queryFn: ({ signal }) => api.get('/v1/members', { query: { limit: 1000 }, signal }),
    enabled: may('members:read'),
    staleTime: 60_000,
  })
  return (id) => {
    const bare = id.replace(/^member:/, '')
    if (bare === me.member?.member_id) return `${me.member.name} (you)`
    return data?.find(({ member_id }) => member_id === bare)?.name ?? null
  }
}

/** One agent, for its name; null while it is not known or may not be seen. */
export function useAgent(agent_id: string | null | undefined) {
  const { may } = useSession()
  const { data } = useQuery({
    queryKey: ['agents', agent_id],
    queryFn: ({ signal }) => api.get('/v1/agents/{agent_id}', { path: { agent_id: agent_id ?? '' }, signal }),
    enabled: may('agents:read') && typeof agent_id === 'string',
    staleTime: 60_000,
    retry: false,
  })
  return data ?? null
}
