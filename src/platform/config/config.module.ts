import { Global, Module, type DynamicModule } from '@nestjs/common'
import { Settings } from './settings.js'

/**
 * Gives the settings to everyone. They are read before Nest exists (the embedded database starts first), so this
 * provides a value instead of reading the environment again.
 */
@Global()
@Module({})
export class ConfigModule {
  static forRoot(settings: Settings): DynamicModule {
    return {
      module: ConfigModule,
      providers: [{ provide: Settings, useValue: settings }],
      exports: [Settings],
    }
  }
}
