import { createHash } from 'node:crypto'
import fs from 'node:fs/promises'
import path from 'node:path'
import type { ExpiredMonth } from './retention.queries.js'

/**
 * Writes a bundle to `<dir>/<org_id>/<YYYY-MM>-<days>-<first index>.ndjson` with its SHA-256 beside it. The file has
 * its name only when it is complete and on disk; one that is there already is written anew, because the entries may
 * have been erased in between.
 * @throws Error when it cannot be written: then nothing expires
 */
export async function archive(
  dir: string,
  org_id: string,
  { retention_days, month }: ExpiredMonth,
  first_index: number,
  bundle: AsyncIterable<string>,
): Promise<void> {
  const folder = path.join(dir, org_id)
  await fs.mkdir(folder, { recursive: true, mode: 0o700 })
  const name = `${month.slice(0, 7)}-${retention_days}-${first_index}.ndjson`
  const draft = path.join(folder, `.${name}.${process.pid}`)
  const digest = createHash('sha256')
  const file = await fs.open(draft, 'w', 0o600)
  try {
    for await (const chunk of bundle) {
      digest.update(chunk)
      await file.writeFile(chunk)
    }
    await file.sync()
  } finally {
    await file.close()
  }
  await fs.rename(draft, path.join(folder, name))
  await fs.writeFile(path.join(folder, `${name}.sha256`), `${digest.digest('hex')}  ${name}\n`, {
    flush: true,
  })
  const directory = await fs.open(folder)
  await directory.sync()
  await directory.close()
}
