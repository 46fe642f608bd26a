import { Injectable, type OnModuleInit } from '@nestjs/common'
import { METHOD_METADATA } from '@nestjs/common/constants'
import { DiscoveryService, MetadataScanner, Reflector } from '@nestjs/core'
import { ACCESS } from './access.decorator.js'

/** Keeps the application from booting while a route says nothing about who may use it (closed by default). */
@Injectable()
export class AccessAudit implements OnModuleInit {
  constructor(
    private readonly discovery: DiscoveryService,
    private readonly scanner: MetadataScanner,
    private readonly reflector: Reflector,
  ) {}

  onModuleInit(): void {
    const open: string[] = []
    for (const { metatype } of this.discovery.getControllers()) {
      if (!metatype) continue
      const prototype = metatype.prototype as Record<string, unknown>
      for (const name of this.scanner.getAllMethodNames(prototype)) {
        const handler = prototype[name]
        if (typeof handler !== 'function' || !Reflect.hasMetadata(METHOD_METADATA, handler)) continue
        if (!this.reflector.getAllAndOverride(ACCESS, [handler, metatype]))
          open.push(`${metatype.name}.${name}`)
      }
    }
    if (open.length > 0)
      throw new Error(`These routes declare no @Access(...), so nothing is served: ${open.join(', ')}`)
  }
}
