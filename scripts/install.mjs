// Installs the packages of package-lock.json, unless they are installed.
import { ensureInstalled, main } from './support/project.mjs'

await main(ensureInstalled)
