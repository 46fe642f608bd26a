/** Answer of `GET /`. */
export class IndexDto {
  service: string
  version: string
  status: 'operational'
  docs: string
  health: string
  metrics: string
}

/** Answer of `GET /health`. */
export class HealthDto {
  status: 'healthy'
  service: string
  version: string
  /** RFC 3339. */
  timestamp: string
}

/** Answer of `GET /health/ready`; 503 unless `ready`. */
export class ReadinessDto {
  status: 'ready' | 'degraded' | 'unhealthy'
  /** State by check, with the database's round trip in milliseconds. */
  checks: Record<string, string | number>
  timestamp: string
}

/** Answer of `GET /health/live`. */
export class LivenessDto {
  status: 'alive'
  uptime_seconds: number
  timestamp: string
}

class AgentCountDto {
  total: number
  active: number
}

class KillSwitchCountDto {
  /** How many are active, of all organizations. */
  active: number
  /** True while everything is stopped. */
  installation: boolean
}

class DatabaseStateDto {
  connected: boolean
  latency_ms: number
}

class SystemDto {
  uptime_seconds: number
  /** `NODE_ENV`. */
  environment: string
}

/** Answer of `GET /health/stats`. `agents` is null while they cannot be counted. */
export class StatisticsDto {
  status: 'healthy' | 'degraded' | 'unhealthy'
  agents: AgentCountDto | null
  /** At most 5 seconds old; null while they cannot be counted. */
  kill_switches: KillSwitchCountDto | null
  database: DatabaseStateDto
  system: SystemDto
}
