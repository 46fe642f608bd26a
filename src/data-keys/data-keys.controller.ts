import { Controller, Get, Post } from '@nestjs/common'
import { ApiTags } from '@nestjs/swagger'
import { Access } from '../platform/access/access.decorator.js'
import { By, type Principal } from '../platform/access/principal.js'
import { type DataKey, DataKeyCount } from './data-keys.dto.js'
import { DataKeysService } from './data-keys.service.js'

/** The keys that payloads are sealed with. */
@ApiTags('ledger')
@Controller('ledger/data-keys')
export class DataKeysController {
  constructor(private readonly data_keys: DataKeysService) {}

  /**
   * Seal new payloads with a new data key.
   *
   * What is sealed stays as it is and can be read as before. The key before is kept for that.
   */
  @Post('rotate')
  @Access('ledger:write')
  rotate(@By() principal: Principal): Promise<DataKey> {
    return this.data_keys.rotate(principal)
  }

  /**
   * Count the data keys under each key-encryption key.
   *
   * After a rotation of `LEDGER_KEK`, the former one can be taken out of `LEDGER_KEK_PREVIOUS` once only the present
   * one is listed, for every organization.
   */
  @Get()
  @Access('config-logs:read')
  list(@By() principal: Principal): Promise<DataKeyCount[]> {
    return this.data_keys.list(principal)
  }
}
