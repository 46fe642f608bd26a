import { Global, Module } from '@nestjs/common'
import { TerminusModule } from '@nestjs/terminus'
import { HealthController } from './health.controller.js'
import { HealthService } from './health.service.js'
import { IndexController } from './index.controller.js'
import { Readiness } from './readiness.js'
import { Statistics } from './statistics.js'

@Global()
@Module({
  // Its own log lines would repeat every failed probe with details of the inside.
  imports: [TerminusModule.forRoot({ logger: false })],
  controllers: [IndexController, HealthController],
  providers: [HealthService, Readiness, Statistics],
  exports: [Readiness, Statistics],
})
export class HealthModule {}
