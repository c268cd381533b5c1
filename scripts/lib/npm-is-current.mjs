// Exits 0 if node_modules holds what package-lock.json asks for. npm writes its own list of what it installed last,
// so a broken-off installation has none.
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
      // entries outside node_modules are our own packages; optional ones may be for other platforms
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
