import type { AddressInfo } from 'node:net'
import type { NestExpressApplication } from '@nestjs/platform-express'
import { Test } from '@nestjs/testing'
import { APP_OPTIONS, configureApp } from '../../src/app'
import { AppModule } from '../../src/app.module'
import { Clock } from '../../src/platform/clock/clock'
import type { Settings } from '../../src/platform/config/settings'
import { connectionsOfLogins } from '../../src/platform/database/connections'
import { LaneAdapter } from '../../src/platform/http/lane.adapter'
import { createTestDatabase, type TestDatabase } from './postgres'
import { testSettings } from './settings'

export interface RunningApp {
  /** Base URL without a slash at the end. */
  readonly url: string
  readonly app: NestExpressApplication
  readonly settings: Settings
  /** The root key. */
  readonly admin_key: string
  readonly database: TestDatabase
  /** Sends JSON as the root key, unless `headers` say otherwise; `undefined` sends no body. */
  send(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Response>
  /** Closes the application, then drops its database. */
  close(): Promise<void>
}

export interface RunningAppOptions {
  settings?: Partial<Settings>
  clock?: Clock
  /** An existing database, for a second replica or a restart; it is not dropped at the end. */
  database?: TestDatabase
}

/** The real application over a real database of its own, on a free port: limits off, no log lines. */
export async function startApp(options: RunningAppOptions = {}): Promise<RunningApp> {
  const settings = testSettings(options.settings)
  const database = options.database ?? (await createTestDatabase())
  const drop = async () => {
    if (!options.database) await database.drop()
  }
  try {
    const builder = Test.createTestingModule({
      imports: [AppModule.forRoot(settings, connectionsOfLogins(database))],
    })
    if (options.clock) builder.overrideProvider(Clock).useValue(options.clock)
    const testing = await builder.compile()
    const app = await configureApp(
      testing.createNestApplication<NestExpressApplication>(new LaneAdapter(), APP_OPTIONS),
    )
    await app.listen(settings.port, '127.0.0.1')
    const url = `http://127.0.0.1:${(app.getHttpServer().address() as AddressInfo).port}`
    return {
      url,
      app,
      settings,
      admin_key: settings.admin_api_key,
      database,
      send: (method, path, body, headers = { 'x-admin-key': settings.admin_api_key }) =>
        fetch(url + path, {
          method,
          headers: { ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
          ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        }),
      close: async () => {
        await app.close()
        await drop()
      },
    }
  } catch (error) {
    await drop()
    throw error
  }
}
