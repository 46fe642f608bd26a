import { SetMetadata } from '@nestjs/common'
import type { LimitClass } from './limits.js'

export const LIMIT = 'agentguard:limit'

/**
 * Names the limit that a route counts against. Without it: for administrators' routes `admin_read`,
 * `admin_create` (also changes) or `admin_delete` by method; else `default`.
 */
export const Limit = (limitClass: LimitClass) => SetMetadata<string, LimitClass>(LIMIT, limitClass)
