// Checks package-lock.json for what "npm install" drops without a word and "npm ci" then cannot install: an optional
// dependency (the build of a native program for another platform) that the registry did not have at that moment.
// Also, that no entry names a registry: the lock must work with whichever one a machine uses.
import { readFileSync } from 'node:fs'
import path from 'node:path'

const { packages } = JSON.parse(readFileSync(new URL('../package-lock.json', import.meta.url), 'utf8'))

const problems = Object.entries(packages).flatMap(([place, entry]) => [
  ...Object.keys(entry.optionalDependencies ?? {})
    .filter((name) => !isLocked(place, name))
    .map((name) => `${place || 'package.json'}: optional dependency ${name} is not in the lock file`),
  ...(/^https?:/.test(entry.resolved ?? '')
    ? [`${place}: names a registry (${new URL(entry.resolved).host})`]
    : []),
])

if (problems.length > 0) {
  console.error(problems.join('\n'))
  console.error('\nChoose versions whose platform packages are all published, then make the lock file anew:')
  console.error(
    'rm -rf node_modules package-lock.json && npm install --package-lock-only --ignore-scripts && npm ci',
  )
  process.exitCode = 1
}

/** Node's way of finding a package: below the one that asks for it, else below each package around that one. */
function isLocked(place, name) {
  if (packages[path.posix.join(place, 'node_modules', name)]) return true
  if (place === '') return false
  const around = place.lastIndexOf('/node_modules/')
  return isLocked(around < 0 ? '' : place.slice(0, around), name)
}
