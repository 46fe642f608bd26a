// Builds dist and the dashboard, unless they are made of exactly the present sources.
import { ensureBuilt, main } from './support/project.mjs'

await main(ensureBuilt)
