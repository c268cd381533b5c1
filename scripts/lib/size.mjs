// The Worker's size, compressed as for the upload, and its budget.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { root } from './tools.mjs'

/** The most bytes of the module and its JavaScript, each compressed with gzip -9. */
export const SIZE_BUDGET = 393_216

/** @returns {number} bytes */
export function workerSize() {
  const sizes = ['index_bg.wasm', 'index.js'].map(
    (name) => gzipSync(readFileSync(join(root, 'build', name)), { level: 9 }).length,
  )
  return sizes.reduce((sum, size) => sum + size, 0)
}

/** Prints the size. @returns {boolean} whether the build is within the budget */
export function checkSize() {
  const size = workerSize()
  const figure = `Wasm and its JavaScript: ${size.toLocaleString('en')} bytes with gzip; the budget is ${SIZE_BUDGET.toLocaleString('en')}`
  const ok = size <= SIZE_BUDGET
  ;(ok ? console.log : console.error)(
    ok ? figure : `${figure}. Make it smaller, or change the budget in scripts/lib/size.mjs and say why.`,
  )
  return ok
}
