// The folder that a server of one's own needs: workerd, its configuration, and the Worker as it was built.
import { chmodSync, copyFileSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { SETTINGS } from './deployment.mjs'
import { durableStreamsServer, root } from './tools.mjs'
import { edgeCache, headwaterModules, inspectorFiles, workerd, workerdConfig } from './workerd.mjs'

/** @param {string} folder is made; files in it are written over */
export function packSelfhost(folder) {
  mkdirSync(folder, { recursive: true })
  const code = {
    modules: headwaterModules,
    compatibilityFlags: [],
    object: /** @type {const} */ (['SEQUENCER', 'Sequencer']),
  }
  const bindings = { fromEnvironment: SETTINGS.map(({ name }) => name), assets: inspectorFiles }
  writeFileSync(join(folder, 'headwater.capnp'), workerdConfig(code, bindings))
  const others = readdirSync(join(root, 'selfhost'), { withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ name }) => join(root, 'selfhost', name))
  for (const file of new Set([...headwaterModules, edgeCache, ...inspectorFiles, ...others]))
    copyFileSync(file, join(folder, basename(file)))
  for (const [file, name] of [
    [workerd, 'workerd'],
    [durableStreamsServer, 'durable-streams-server'],
  ]) {
    rmSync(join(folder, /** @type {string} */ (name)), { force: true }) // one that runs can't be written over, only replaced
    copyFileSync(/** @type {string} */ (file), join(folder, /** @type {string} */ (name)))
    chmodSync(join(folder, /** @type {string} */ (name)), 0o755)
  }
}
