// npm start: sets up and builds, then runs the upstream, the Worker and the example app until Ctrl-C. Until the setup
// is done, this runs on the system's Node, and uses only Node's own modules.
import { createHash } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { SETTINGS } from './lib/deployment.mjs'
import { isFree } from './lib/ports.mjs'
import { launch, rustUpstream, statusOf, todoApp, worker } from './lib/services.mjs'
import { build, buildClient, onEndSignal, setUp, stopSteps } from './lib/steps.mjs'
import { root } from './lib/tools.mjs'

const HELP = `npm start -- [options]

  --port N             the Worker's port (default 8787, or PORT in the environment)
  --upstream URL       use the Durable Streams server at this URL (with the path prefix), and start none
                       (or UPSTREAM_URL in the environment)
  --built-in           keep each log in the Worker's own storage, and start no upstream
  --upstream-port N    the port of the upstream that this command starts (default 4437)
  --app-port N         the port of the to-do app in examples/todo (default 5173)
  --verbose            show the output of the Worker, the upstream and the app
  --help

The environment may also have these settings of the Worker: AUTH_MODE, UPSTREAM_TOKEN and everything that begins
with JWT_ (docs/security.md). For example:

  AUTH_MODE=jwt JWT_SECRET=$(openssl rand -hex 32) npm start`

/** @type {import('./lib/child.mjs').Child[]} */
const children = []
let ending = false

main().catch((error) => fail(error.message))

async function main() {
  const options = readOptions()
  await checkPorts(options)
  onEndSignal(() => end(0, '\nStopping …', 'Stopped.'))
  if (!(await setUp())) return fail('the setup failed')
  if (!(await build()) || !(await buildClient())) return fail('the build failed')

  const upstreamUrl = options.builtIn ? '' : (options.upstream ?? (await startUpstream(options)))
  if (options.upstream && (await statusOf(options.upstream.replace(/\{shard:\d+\}/, '0'))) === undefined) {
    return fail(`the upstream ${options.upstream} does not answer`)
  }
  const persistTo = workerData(options)
  const envFile = writeSettings(join(persistTo, 'settings.env'))
  const service = worker({
    port: options.port,
    upstreamUrl,
    persistTo,
    vars: { INSPECTOR: 'on' },
    envFile,
    rebuild: true,
  })
  await start(service, options)
  const app = todoApp({ port: options.appPort, syncUrl: service.url })
  await start(app, options)
  if (!ending) console.log(welcome({ appUrl: app.url, workerUrl: service.url, upstreamUrl }, options))
}

/**
 * @typedef {object} Options
 * @property {number} port
 * @property {number} upstreamPort
 * @property {number} appPort
 * @property {string | undefined} upstream
 * @property {boolean} builtIn
 * @property {boolean} verbose
 * @returns {Options}
 */
function readOptions() {
  const { values } = parseArgs({
    options: {
      port: { type: 'string' },
      upstream: { type: 'string' },
      'built-in': { type: 'boolean', default: false },
      'upstream-port': { type: 'string' },
      'app-port': { type: 'string' },
      verbose: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) {
    console.log(HELP)
    process.exit(0)
  }
  if (values['built-in'] && values.upstream)
    throw new Error('--built-in and --upstream exclude each other: give only one of them')
  const upstream = (values['built-in'] ? undefined : (values.upstream ?? process.env.UPSTREAM_URL)) || undefined
  if (upstream !== undefined && !/^https?:\/\/./.test(upstream)) {
    throw new Error(`the upstream must be an http or https URL, not ${upstream}`)
  }
  return {
    port: portNumber('--port', values.port ?? (process.env.PORT || '8787')),
    upstreamPort: portNumber('--upstream-port', values['upstream-port'] ?? '4437'),
    appPort: portNumber('--app-port', values['app-port'] ?? '5173'),
    upstream: upstream?.replace(/\/+$/, ''),
    builtIn: values['built-in'],
    verbose: values.verbose,
  }
}

/**
 * @param {string} flag
 * @param {string} text
 */
function portNumber(flag, text) {
  const port = Number(text)
  if (!Number.isInteger(port) || port < 1 || port > 65_535) throw new Error(`${flag} must be a port, not ${text}`)
  return port
}

/** @param {Options} options */
async function checkPorts({ port, upstream, builtIn, upstreamPort, appPort }) {
  if (!(await isFree(port))) {
    throw new Error(`port ${port} is in use; choose another for the Worker: npm start -- --port ${port + 1}`)
  }
  if (!(await isFree(appPort))) {
    throw new Error(
      `port ${appPort} is in use; choose another for the to-do app: npm start -- --app-port ${appPort + 1}`,
    )
  }
  if (upstream === undefined && !builtIn && !(await isFree(upstreamPort))) {
    throw new Error(
      `port ${upstreamPort} is in use; choose another for the upstream: npm start -- --upstream-port ${upstreamPort + 1}\n` +
        `  or, if a Durable Streams server listens there, use it: npm start -- --upstream http://127.0.0.1:${upstreamPort}/v1/stream`,
    )
  }
}

/** @param {string[]} path */
function dataFolder(...path) {
  const folder = join(root, '.data', ...path)
  mkdirSync(folder, { recursive: true })
  return folder
}

// A Sequencer remembers where its stream ends. Therefore each upstream has its own Durable Object storage.
/** @param {Options} options */
function workerData({ upstream, builtIn }) {
  if (builtIn) return dataFolder('worker-built-in')
  if (upstream === undefined) return dataFolder('worker')
  return dataFolder(`worker-${createHash('sha256').update(upstream).digest('hex').slice(0, 12)}`)
}

/**
 * Writes the Worker's settings from the environment into a file that only this user can read.
 * @param {string} file
 */
function writeSettings(file) {
  const passed = SETTINGS.filter(
    ({ name, section }) => section === 'tokens' || ['AUTH_MODE', 'UPSTREAM_TOKEN'].includes(name),
  )
  const settings = passed.flatMap(({ name }) => (process.env[name] === undefined ? [] : [[name, process.env[name]]]))
  const lines = settings.map(([name, value = '']) => {
    const quote = ["'", '"', '`'].find((mark) => !value.includes(mark))
    if (quote === undefined) throw new Error(`${name} contains all three kinds of quotation marks. Remove one kind`)
    return `${name}=${quote}${value.replaceAll('$', '\\$')}${quote}\n` // a bare $ would name another variable
  })
  writeFileSync(file, lines.join(''), { mode: 0o600 })
  return file
}

/**
 * @param {Options} options
 * @returns {Promise<string>} the upstream's URL
 */
async function startUpstream(options) {
  const service = rustUpstream({ port: options.upstreamPort, dataDir: dataFolder('upstream') })
  await start(service, options)
  return service.url
}

/**
 * @param {import('./lib/services.mjs').Service} service
 * @param {Options} options
 */
async function start(service, { verbose }) {
  if (ending) return
  console.log(`[start] ${service.name} …`)
  const logFile = join(dataFolder(), `${service.name}.log`)
  const onLine = (/** @type {string} */ line) => console.log(`[${service.name}] ${line}`)
  const child = await launch(service, verbose ? { logFile, onLine } : { logFile }, (started) => children.push(started))
  void child.exited.then(({ how }) => {
    if (!ending) void fail(`the ${service.name} ${how}. Its last lines:\n${child.tail()}`)
  })
}

/** @param {string} message */
function fail(message) {
  return end(1, '', `[start] ERROR: ${message}`)
}

/**
 * Stops the Worker before the upstream, which waits for its readers when it stops.
 * @param {number} code
 * @param {string} before
 * @param {string} after
 */
async function end(code, before, after) {
  if (ending) return
  ending = true
  if (before) console.log(before)
  await stopSteps()
  for (const child of children.reverse()) await child.stop()
  ;(code ? console.error : console.log)(after)
  process.exit(code)
}

/**
 * @param {{ appUrl: string, workerUrl: string, upstreamUrl: string }} urls
 * @param {Options} options
 */
function welcome({ appUrl, workerUrl, upstreamUrl }, { upstream, verbose }) {
  const stream = `${workerUrl}/v1/stream/demo/my-store`
  const needsToken = process.env['AUTH_MODE'] === 'jwt'
  const authorization = needsToken ? ' -H "authorization: Bearer $TOKEN"' : ''
  const token = `
If you have set JWT_SECRET, make a token:

  TOKEN=$(npm run --silent token -- --tenant demo)
`
  const event =
    '{"name":"todoCreated","args":{"id":"1","text":"hello"},"seqNum":1,"parentSeqNum":0,"clientId":"c","sessionId":"s"}'
  return `
Headwater is running.

  to-do app  ${appUrl}${needsToken && !process.env['VITE_AUTH_TOKEN'] ? ' (needs a token: examples/todo/README.md)' : ''}
  Worker     ${workerUrl}
  inspector  ${workerUrl}/inspect
  upstream   ${upstreamUrl === '' ? 'none: the log is built in' : upstreamUrl}${upstream === undefined ? '' : ' (started elsewhere)'}
${needsToken ? token : ''}
Open the app and press "Second device" to see two devices in sync.

Push an event:

  curl -i '${stream}'${authorization} -H 'content-type: application/json' -d '[${event}]'

Read the store:

  curl -i '${stream}?offset=-1'${authorization}
${verbose ? '' : '\nLogs are in .data/*.log; npm start -- --verbose shows them here.'}
Data stays in .data/. Press Ctrl-C to stop everything.`
}
