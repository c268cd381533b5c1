// The files of a Worker in plain `workerd serve`, for the benches and for self-hosted deployments.
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { root } from './tools.mjs'

/** The binary. The package's own command would add a process around it. @type {string} */
export const workerd = createRequire(createRequire(import.meta.url).resolve('miniflare'))('workerd').default

export const edgeCache = join(root, 'selfhost/edge-cache.js')

/** The configuration and the files that it embeds. They must be in one folder. */
export const headwaterFiles = [
  'selfhost/headwater.capnp',
  'selfhost/edge-cache.js',
  'selfhost/assets.js',
  'build/index.js',
  'build/index_bg.wasm',
  'inspector/index.html',
  'inspector/inspector.css',
  'inspector/inspector.js',
].map((file) => join(root, file))
