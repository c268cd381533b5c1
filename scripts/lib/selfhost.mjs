// The folder that a server of one's own needs: workerd, its configuration, and the Worker as it was built.
import { chmodSync, copyFileSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { wranglerConfig } from './deployment.mjs'
import { durableStreamsServer, root } from './tools.mjs'
import { edgeCache, headwaterModules, inspectorFiles, workerd, workerdConfig } from './workerd.mjs'

/** Settings that wrangler.toml does not list, because a development server needs none of them (docs/configuration.md). */
export const UNLISTED = [
  'ALLOW_INSECURE',
  'UPSTREAM_TOKEN', 'JWT_SECRET', 'JWT_JWKS', 'JWT_JWKS_URL', 'JWT_HEADER', 'JWT_ISSUER', 'JWT_AUDIENCE',
  ...['TENANT', 'STORES', 'SCOPE'].flatMap((claim) => [`JWT_${claim}`, `JWT_${claim}_CLAIM`]),
]

/** @param {string} folder is made; files in it are written over */
export async function packSelfhost(folder) {
  mkdirSync(folder, { recursive: true })
  const { vars } = await wranglerConfig()
  const code = { modules: headwaterModules, compatibilityFlags: [], object: /** @type {const} */ (['SEQUENCER', 'Sequencer']) }
  const bindings = { fromEnvironment: [...Object.keys(vars), ...UNLISTED], assets: inspectorFiles }
  writeFileSync(join(folder, 'headwater.capnp'), workerdConfig(code, bindings))
  const others = readdirSync(join(root, 'selfhost'), { withFileTypes: true }).filter((entry) => entry.isFile()).map(({ name }) => join(root, 'selfhost', name))
  for (const file of new Set([...headwaterModules, edgeCache, ...inspectorFiles, ...others])) copyFileSync(file, join(folder, basename(file)))
  for (const [file, name] of [[workerd, 'workerd'], [durableStreamsServer, 'durable-streams-server']]) {
    copyFileSync(/** @type {string} */ (file), join(folder, /** @type {string} */ (name)))
    chmodSync(join(folder, /** @type {string} */ (name)), 0o755)
  }
}
