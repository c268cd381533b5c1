// What the Worker weighs, compressed as it is uploaded, and what it may weigh.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { root } from './tools.mjs'

/** Bytes of the module and its JavaScript, each by gzip -9. */
export const SIZE_BUDGET = 300_000

/** @returns {number} bytes */
export function workerSize() {
  const sizes = ['index_bg.wasm', 'index.js'].map(
    (name) => gzipSync(readFileSync(join(root, 'build', name)), { level: 9 }).length,
  )
  return sizes.reduce((sum, size) => sum + size, 0)
}

/** @returns {boolean} whether the build keeps to the budget; says the figure */
export function checkSize() {
  const size = workerSize()
  const figure = `Wasm and its JavaScript: ${size.toLocaleString('en')} bytes by gzip; the budget is ${SIZE_BUDGET.toLocaleString('en')}`
  const ok = size <= SIZE_BUDGET
  ;(ok ? console.log : console.error)(
    ok ? figure : `${figure}. Make it smaller, or change the budget in scripts/lib/size.mjs and say why.`,
  )
  return ok
}
