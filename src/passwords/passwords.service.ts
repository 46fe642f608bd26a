import { hash, verify } from '@node-rs/argon2'
import { Injectable, type OnApplicationBootstrap } from '@nestjs/common'
import { availableParallelism } from 'node:os'
import { randomBytes } from 'node:crypto'
import { normalizePassword, passwordWeakness } from '../core/people/password.js'
import { Problem } from '../core/problems.js'
import { Clock } from '../platform/clock/clock.js'
import type { Tx } from '../platform/database/database.service.js'

/**
 * argon2id (the library's default) with the parameters of the OWASP Password Storage Cheat Sheet: 19 MiB, 2 passes,
 * 1 lane.
 */
const ARGON2 = { memoryCost: 19_456, timeCost: 2, parallelism: 1 }

/** Who would wait longer than this many others is asked to come back: hashing must not starve decisions. */
const MAX_WAITING = 32

/** A password as it is kept: what a session that begins now must still find. */
export interface KeptPassword {
  readonly hash: string
  readonly changed_at: Date
}

/** Passwords: judged, hashed and verified here and nowhere else, never logged, never answered. */
@Injectable()
export class PasswordsService implements OnApplicationBootstrap {
  /** As many at once as leave a processor to the rest: each takes one for some 20 ms and 19 MiB. */
  private readonly slots = new Slots(Math.min(4, Math.max(1, availableParallelism() - 1)))
  private dummy: Promise<string> | undefined

  constructor(private readonly clock: Clock) {}

  /** Before the first sign-in, which would otherwise take longer if its account does not exist. */
  async onApplicationBootstrap(): Promise<void> {
    await this.unknowable()
  }

  /**
   * @param known what is known about its owner, which the password must not be
   * @param path the field that an error names
   * @throws Problem `validation_failed`, `not_ready` when too many are waiting
   */
  async hash(password: string, known: readonly string[], path = 'password'): Promise<string> {
    const text = normalizePassword(password)
    const message = passwordWeakness(text, known)
    if (message !== null) throw new Problem('validation_failed', { errors: [{ path, message }] })
    return this.slots.run(() => hash(text, ARGON2))
  }

  /**
   * Whether `password` is the one of `kept`. Where there is none, a hash of nothing anybody knows is verified instead, so
   * that an account which does not exist costs what one that does costs.
   * @throws Problem `not_ready` when too many are waiting
   */
  async verify(kept: string | null, password: string): Promise<boolean> {
    const against = kept ?? (await this.unknowable())
    const fits = await this.slots.run(() => verify(against, normalizePassword(password)))
    return fits && kept !== null
  }

  /** The member's password; null when there is none. */
  find(tx: Tx, org_id: string, member_id: string): Promise<KeptPassword | null> {
    const where = { org_id_member_id: { org_id, member_id } }
    return tx.memberPassword.findUnique({ where, select: { hash: true, changed_at: true } })
  }

  /** Sets the member's password to an already hashed one. */
  async set(tx: Tx, org_id: string, member_id: string, hashed: string): Promise<void> {
    const kept = { hash: hashed, changed_at: new Date(this.clock.now()) }
    const where = { org_id_member_id: { org_id, member_id } }
    await tx.memberPassword.upsert({ where, create: { org_id, member_id, ...kept }, update: kept })
  }

  /** The same for every account that does not exist. */
  private unknowable(): Promise<string> {
    this.dummy ??= this.slots.run(() => hash(randomBytes(32), ARGON2))
    return this.dummy
  }
}

/** So many at once; the rest waits in line, and a line that is too long is not joined. */
class Slots {
  private running = 0
  private readonly line: (() => void)[] = []

  constructor(private readonly size: number) {}

  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.running >= this.size) {
      if (this.line.length >= MAX_WAITING) {
        throw new Problem('not_ready', { detail: 'Too many are signing in right now.', retry_after: 1 })
      }
      await new Promise<void>((resolve) => this.line.push(resolve))
    } else {
      this.running++
    }
    try {
      return await work()
    } finally {
      // The slot goes to the next in line without ever being free.
      const next = this.line.shift()
      if (next) next()
      else this.running--
    }
  }
}
