// Builds dist, unless it is made of exactly the present sources.
import { ensureBuilt, main } from './support/project.mjs'

await main(ensureBuilt)
