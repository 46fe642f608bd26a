import type { Metadata } from 'next'
import { Suspense } from 'react'
import { Door } from '@/components/door'
import { SignIn } from './sign-in'

export const metadata: Metadata = { title: 'Sign in' }

export default function SignInPage() {
  return (
    <Suspense fallback={<Door title="Sign in">{null}</Door>}>
      <SignIn />
    </Suspense>
  )
}
