import cluster from 'node:cluster'
import { Conversation } from './conversation.js'

/** Which worker of its service this process is, from 1; undefined when it works alone, and in the primary process. */
export const workerNumber = (): number | undefined =>
  cluster.isWorker ? Number(process.env.AGENTGUARD_WORKER) : undefined

let conversation: Conversation | undefined

/** A worker's line to its primary process; null in a process that works alone. */
export function primary(): Conversation | null {
  if (!cluster.isWorker) return null
  return (conversation ??= new Conversation(process))
}
