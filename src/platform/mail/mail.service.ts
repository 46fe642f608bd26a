import { Injectable, Logger } from '@nestjs/common'
import { createTransport } from 'nodemailer'
import { Settings } from '../config/settings.js'

/** How long a mail server may be silent: somebody waits for the answer that says whether it took the message. */
const TIMEOUT_MS = 5_000

export interface Message {
  /** One normalised address. */
  readonly to: string
  /** One line, none of it written by a tenant: it is what filters and people believe. */
  readonly subject: string
  readonly text: string
}

/** Null: the server took the message. Otherwise why it did not, in words for the caller. */
export type Refusal = string | null

/** Sends text by `SMTP_URL`. A message is sent after the commit of what it tells, and losing it loses nothing else. */
@Injectable()
export class Mail {
  private readonly logger = new Logger('mail')

  constructor(private readonly settings: Settings) {}

  /** Whether messages can be sent at all: there is a server, and an address of ours for the links in them. */
  get is_on(): boolean {
    return this.settings.smtp_url !== undefined && this.settings.public_url !== undefined
  }

  /** Never throws: what failed is an answer. */
  async send({ to, subject, text }: Message): Promise<Refusal> {
    const transport = createTransport({
      url: this.settings.smtp_url,
      connectionTimeout: TIMEOUT_MS,
      greetingTimeout: TIMEOUT_MS,
      socketTimeout: TIMEOUT_MS,
      // Nothing in a message may make this process read a file or a URL.
      disableFileAccess: true,
      disableUrlAccess: true,
    })
    try {
      await transport.sendMail({ from: this.settings.smtp_from, to, subject, text })
      return null
    } catch (error) {
      this.logger.warn({ err: error }, 'a message could not be sent')
      return reasonOf(error)
    } finally {
      transport.close()
    }
  }
}

/** The kind of failure alone: what the server said may hold names of the operator's network. */
function reasonOf(error: unknown): string {
  const { responseCode, code } = error as { responseCode?: unknown; code?: unknown }
  if (typeof responseCode === 'number') return `the mail server refused it (${responseCode})`
  return `the mail server could not be used (${typeof code === 'string' ? code : 'unknown'})`
}
