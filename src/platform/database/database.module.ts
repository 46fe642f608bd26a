import { type DynamicModule, Module } from '@nestjs/common'
import type { Connections } from './connections.js'
import { CONNECTIONS, Database, POOL, type PoolOptions } from './database.service.js'

/** PostgreSQL for everybody. The connections are opened before Nest starts (`openConnections`). */
@Module({})
export class DatabaseModule {
  static forRoot(connections: Connections, pool: PoolOptions): DynamicModule {
    return {
      module: DatabaseModule,
      global: true,
      providers: [
        { provide: CONNECTIONS, useValue: connections },
        { provide: POOL, useValue: pool },
        Database,
      ],
      exports: [Database],
    }
  }
}
