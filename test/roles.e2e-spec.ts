import { Client as PgClient } from 'pg'
import { ROLES } from '../src/core/permissions.js'
import { type RunningApp, startApp } from './support/app.js'

let app: RunningApp
let owner: PgClient

beforeAll(async () => {
  app = await startApp()
  owner = new PgClient({ connectionString: app.database.owner_url })
  await owner.connect()
})
afterAll(async () => {
  await owner?.end()
  await app?.close()
})

it('knows the same built-in roles in the database as in the code', async () => {
  const { rows } = await owner.query<{ known: boolean }>(
    'SELECT is_builtin_role(role) AS known FROM unnest($1::text[]) AS r (role)',
    [[...ROLES, 'deployer']],
  )
  expect(rows.map(({ known }) => known)).toEqual([...ROLES.map(() => true), false])
  const { rows: source } = await owner.query<{ names: string }>(
    `SELECT prosrc AS names FROM pg_proc WHERE proname = 'is_builtin_role'`,
  )
  expect([...(source[0]?.names.matchAll(/'(\w+)'/g) ?? [])].map(([, name]) => name)).toEqual([...ROLES])
})
