// A Worker in plain `workerd serve`: what the benches measure, and what runs on a server of one's own.
import { createRequire } from 'node:module'
import { basename, join } from 'node:path'
import { root } from './tools.mjs'

/**
 * @typedef {object} WorkerCode
 * @property {readonly string[]} modules the first is its entry; Wasm is told by its name's end
 * @property {readonly string[]} compatibilityFlags
 * @property {readonly [binding: string, className: string]} [object] the Durable Object
 */

/** The binary itself: the package's own command would be one more process around it. @type {string} */
export const workerd = createRequire(createRequire(import.meta.url).resolve('miniflare'))('workerd').default

export const headwaterModules = [join(root, 'build/index.js'), join(root, 'build/index_bg.wasm')]
export const edgeCache = join(root, 'selfhost/edge-cache.js')
/** What the inspector is made of; the Worker serves nothing else from its binding ASSETS. */
export const inspectorFiles = ['index.html', 'inspector.css', 'inspector.js'].map((name) =>
  join(root, 'inspector', name),
)

/**
 * workerd's configuration. Its files lie beside it; where it listens and where its objects are stored is said on the
 * command line: `--socket-addr=http=ADDRESS --directory-path=objects=FOLDER`.
 * @param {WorkerCode} code
 * @param {{ vars?: Record<string, string>, fromEnvironment?: readonly string[], assets?: readonly string[] }} [bindings]
 *   `fromEnvironment`: variables that have their values from workerd's environment; `assets`: files of the binding ASSETS,
 *   with selfhost/assets.js to serve them
 */
export function workerdConfig(
  { modules, compatibilityFlags, object },
  { vars = {}, fromEnvironment = [], assets } = {},
) {
  const bindings = Object.entries(vars).map(([name, value]) => `(name = ${text(name)}, text = ${text(value)})`)
  bindings.push(...fromEnvironment.map((name) => `(name = ${text(name)}, fromEnvironment = ${text(name)})`))
  if (object !== undefined) bindings.push(`(name = ${text(object[0])}, durableObjectNamespace = ${text(object[1])})`)
  if (assets !== undefined) bindings.push('(name = "ASSETS", service = "assets")')
  const embedded = modules.map((file) => {
    const name = basename(file)
    return name.endsWith('.wasm')
      ? `(name = ${text(`./${name}`)}, wasm = embed ${text(name)})`
      : `(name = ${text(name)}, esModule = embed ${text(name)})`
  })
  const storage =
    object === undefined
      ? ''
      : `
  durableObjectNamespaces = [ (className = ${text(object[1])}, uniqueKey = ${text(object[1])}, enableSql = true) ],
  durableObjectStorage = (localDisk = "objects"),`
  const assetsWorker =
    assets === undefined
      ? ''
      : `
const assets :Workerd.Worker = (
  modules = [ (name = "assets.js", esModule = embed "assets.js") ],
  compatibilityDate = "2026-10-01",
  bindings = [
    ${assets.map((file) => `(name = ${text(basename(file))}, text = embed ${text(basename(file))})`).join(',\n    ')},
  ],
);
`
  return `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "worker", worker = .worker),
    (name = "edge-cache", worker = .edgeCache),${assets === undefined ? '' : '\n    (name = "assets", worker = .assets),'}
    (name = "objects", disk = (writable = true)),
    (name = "internet", network = (allow = ["public", "private"], tlsOptions = (trustBrowserCas = true))),
  ],
  sockets = [ (name = "http", http = (), service = "worker") ],
);
const worker :Workerd.Worker = (
  modules = [
    ${embedded.join(',\n    ')},
  ],
  compatibilityDate = "2026-10-01",
  compatibilityFlags = [${compatibilityFlags.map(text).join(', ')}],
  bindings = [
    ${bindings.join(',\n    ')},
  ],${storage}
  cacheApiOutbound = "edge-cache",
);
const edgeCache :Workerd.Worker = (
  modules = [ (name = "edge-cache.js", esModule = embed "edge-cache.js") ],
  compatibilityDate = "2026-10-01",
);
${assetsWorker}`
}

/** A string as Cap'n Proto writes it: paths and URLs have nothing in them that JSON would write otherwise. @param {string} value */
function text(value) {
  return JSON.stringify(value)
}
