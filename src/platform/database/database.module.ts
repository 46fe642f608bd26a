import { type DynamicModule, Module } from '@nestjs/common'
import type { Connections } from './connections.js'
import { CONNECTIONS, Database, POOL_SIZE } from './database.service.js'

/** PostgreSQL for everybody. The connections are opened before Nest starts (`openConnections`). */
@Module({})
export class DatabaseModule {
  static forRoot(connections: Connections, pool_size = 20): DynamicModule {
    return {
      module: DatabaseModule,
      global: true,
      providers: [
        { provide: CONNECTIONS, useValue: connections },
        { provide: POOL_SIZE, useValue: pool_size },
        Database,
      ],
      exports: [Database],
    }
  }
}
