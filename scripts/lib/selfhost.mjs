// Packs the folder of a self-hosted deployment: workerd, its configuration, and the built Worker.
import { chmodSync, copyFileSync, mkdirSync, readdirSync, rmSync } from 'node:fs'
import { basename, join } from 'node:path'
import { durableStreamsServer, root } from './tools.mjs'
import { headwaterFiles, workerd } from './workerd.mjs'

/** @param {string} folder created if missing; overwrites files in it */
export function packSelfhost(folder) {
  mkdirSync(folder, { recursive: true })
  const others = readdirSync(join(root, 'selfhost'), { withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ name }) => join(root, 'selfhost', name))
  for (const file of new Set([...headwaterFiles, ...others])) copyFileSync(file, join(folder, basename(file)))
  for (const [file, name] of [
    [workerd, 'workerd'],
    [durableStreamsServer, 'durable-streams-server'],
  ]) {
    rmSync(join(folder, /** @type {string} */ (name)), { force: true }) // a running program can't be overwritten, only replaced
    copyFileSync(/** @type {string} */ (file), join(folder, /** @type {string} */ (name)))
    chmodSync(join(folder, /** @type {string} */ (name)), 0o755)
  }
}
