// Exits with 0 if node_modules has the versions of package-lock.json. npm writes its list of installed packages last.
// Therefore an interrupted installation has no list.
import { readFileSync } from 'node:fs'
import { root } from './tools.mjs'

/**
 * @typedef {{ packages: Record<string, { version?: string, optional?: boolean, link?: boolean }> }} Lock
 * @param {string} path
 * @returns {Lock['packages']}
 */
const packagesIn = (path) => /** @type {Lock} */ (JSON.parse(readFileSync(`${root}${path}`, 'utf8'))).packages

/** @returns {boolean} */
function isCurrent() {
  try {
    const installed = packagesIn('node_modules/.package-lock.json')
    return Object.entries(packagesIn('package-lock.json')).every(
      // entries outside node_modules are this repository's packages; optional ones may be for other platforms
      ([path, { version, optional, link }]) =>
        !path.includes('node_modules/') ||
        optional ||
        (link ? installed[path]?.link : installed[path]?.version === version),
    )
  } catch {
    return false
  }
}

process.exitCode = isCurrent() ? 0 : 1
