import { Injectable } from '@nestjs/common'
import nodemailer, { type Transporter } from 'nodemailer'
import { Settings } from '../platform/config/settings.js'

export interface Mail {
  readonly to: readonly string[]
  /** One line. */
  readonly subject: string
  readonly text: string
  /** The same for the same message, also when it is sent again: mail programs show one of them. */
  readonly message_id?: string
}

/** Every part of a conversation with the mail server; together they stay below what an attempt may take. */
const TIMEOUTS = { connectionTimeout: 5_000, greetingTimeout: 5_000, socketTimeout: 5_000, dnsTimeout: 5_000 }

/** E-mail over the operator's SMTP server (`SMTP_URL`, `SMTP_FROM`). Text only: nothing in it is markup. */
@Injectable()
export class MailService {
  private readonly transport: Transporter | null

  constructor(private readonly settings: Settings) {
    const { smtp_url } = settings
    this.transport =
      smtp_url === undefined
        ? null
        : nodemailer.createTransport({
            url: smtp_url,
            ...TIMEOUTS,
            // A message is text that we made: it must not be able to name files or URLs to attach.
            disableFileAccess: true,
            disableUrlAccess: true,
          })
  }

  /** False: the operator has set no SMTP server, and nothing can be sent. */
  get is_configured(): boolean {
    return this.transport !== null
  }

  /** Resolves when the server has taken the message for every recipient. @throws Error as the server said it */
  async send({ to, subject, text, message_id }: Mail): Promise<void> {
    if (!this.transport) throw new Error('no SMTP server is set (SMTP_URL)')
    const sent = (await this.transport.sendMail({
      from: this.settings.smtp_from,
      to: [...to],
      subject: subject.replace(/\s+/g, ' '),
      text,
      ...(message_id === undefined ? {} : { messageId: message_id }),
      headers: { 'Auto-Submitted': 'auto-generated' },
    })) as { rejected?: readonly unknown[] }
    if (sent.rejected && sent.rejected.length > 0) {
      throw new Error(`the mail server refused ${sent.rejected.length} of ${to.length} recipients`)
    }
  }
}
