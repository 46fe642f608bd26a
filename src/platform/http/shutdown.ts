import {
  Injectable,
  Logger,
  type BeforeApplicationShutdown,
  type OnApplicationShutdown,
} from '@nestjs/common'

/**
 * The order of closing, after the last answer has left: whoever makes entries stops first, then the ledger writes
 * what is queued, then connections close, then the embedded PostgreSQL stops.
 */
export const CLOSING_ORDER = ['work', 'ledger', 'database', 'postgres'] as const
export type ClosingStep = (typeof CLOSING_ORDER)[number]

/**
 * Closes what modules registered, in order and once. Modules register here instead of implementing Nest's
 * `onModuleDestroy`, which runs while requests are still being answered.
 */
@Injectable()
export class Shutdown implements BeforeApplicationShutdown, OnApplicationShutdown {
  private readonly logger = new Logger('shutdown')
  private readonly closers: { step: ClosingStep; name: string; close: () => Promise<void> | void }[] = []
  private draining = false

  /** True from the first signal on: answers close their connections, readiness is refused. */
  get isDraining(): boolean {
    return this.draining
  }

  /** Registers `close` to run at its step; within a step the last registered closes first. */
  onClose(step: ClosingStep, name: string, close: () => Promise<void> | void): void {
    this.closers.unshift({ step, name, close })
  }

  /** From now on answers close their connections and readiness is refused. */
  drain(): void {
    this.draining = true
  }

  beforeApplicationShutdown(): void {
    this.drain()
  }

  /** One failing closer must not keep the next from closing: the ledger comes before the pools. */
  async onApplicationShutdown(): Promise<void> {
    for (const step of CLOSING_ORDER) {
      for (const { name, close } of this.closers.filter((closer) => closer.step === step)) {
        try {
          await close()
        } catch (error) {
          this.logger.error({ err: error }, `closing ${name} failed`)
        }
      }
    }
    this.closers.length = 0
  }
}
