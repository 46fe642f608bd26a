/** Fields that are shown once: a replay has null in their place. */
const SECRETS: ReadonlySet<string> = new Set(['api_key', 'key', 'secret', 'link', 'password'])

/** The body as it is sent in JSON, with every secret null; undefined when there is no body. */
export function withoutSecrets(body: unknown): unknown {
  if (body === undefined) return undefined
  const text = JSON.stringify(body, (name, value: unknown) =>
    SECRETS.has(name) && typeof value === 'string' ? null : value,
  )
  return text === undefined ? undefined : JSON.parse(text)
}
