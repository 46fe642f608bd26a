'use client'

import { QueryCache, QueryClient, QueryClientProvider } from '@tanstack/react-query'
import { type ReactNode, useState } from 'react'
import { isPassing, isUnauthenticated } from './api'

const RETRIES = 3

/** What was answered is kept and asked for again when it may have changed; what fails in passing is tried again. */
export function Queries({ children }: { children: ReactNode }) {
  const [client] = useState(makeClient)
  return <QueryClientProvider client={client}>{children}</QueryClientProvider>
}

function makeClient(): QueryClient {
  const client: QueryClient = new QueryClient({
    queryCache: new QueryCache({
      // The session is over: whoever asks next is told so by `me`, which sends them to the sign-in page.
      onError: (error, { queryKey }) => {
        if (isUnauthenticated(error) && queryKey[0] !== 'me')
          void client.invalidateQueries({ queryKey: ['me'] })
      },
    }),
    defaultOptions: {
      queries: {
        retry: (count, error) => isPassing(error) && count < RETRIES,
        retryDelay: (count) => Math.min(1_000 * 2 ** count, 8_000),
        staleTime: 5_000,
      },
      // What changes something is repeated by people alone.
      mutations: { retry: false, networkMode: 'always' },
    },
  })
  return client
}
