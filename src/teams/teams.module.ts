import { Module } from '@nestjs/common'
import { TeamsController } from './teams.controller.js'
import { TeamsService } from './teams.service.js'

/** The teams that agents, administrator keys and members belong to. */
@Module({
  controllers: [TeamsController],
  providers: [TeamsService],
  exports: [TeamsService],
})
export class TeamsModule {}
