// npm run deploy: sets up, builds, checks the settings and the size, and deploys with wrangler.
import { parseArgs } from 'node:util'
import { differences, ENVIRONMENTS, problems, readValues, wranglerConfig, wranglerDeploy } from './lib/deployment.mjs'
import { checkSize } from './lib/size.mjs'
import { build, onEndSignal, run, setUp, stopSteps } from './lib/steps.mjs'
import { node, toolEnv } from './lib/tools.mjs'

const HELP = `npm run deploy -- --env staging|production [--dry-run]

  --env NAME    the environment of wrangler.toml; its values are in deploy/NAME.env
  --dry-run     do everything but the upload
  --help

docs/deployment.md has the steps of a first deployment.`

onEndSignal(async () => {
  await stopSteps()
  process.exit(130)
})
main().catch((error) => {
  console.error(`[deploy] ERROR: ${error.message}`)
  process.exit(1)
})

async function main() {
  const { values: options } = parseArgs({
    options: {
      env: { type: 'string' },
      'dry-run': { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  if (options.help) return console.log(HELP)
  const environment = options.env
  if (environment === undefined || !ENVIRONMENTS.includes(environment))
    throw new Error(`--env must be ${ENVIRONMENTS.join(' or ')}`)
  const values = readValues(environment)
  if (!(await setUp())) throw new Error('the setup failed')
  const top = await wranglerConfig()
  const vars = top.vars
  const found = problems(values)
  if (found.length > 0)
    throw new Error(`deploy/${environment}.env has problems:\n${found.map((problem) => `  - ${problem}`).join('\n')}`)
  for (const key of differences(top, await wranglerConfig(environment))) {
    console.log(
      `[deploy] wrangler.toml has different ${key} at its top and in [env.${environment}]; an environment inherits no bindings`,
    )
  }
  if (!values['DOMAIN'])
    console.log('[deploy] DOMAIN is not set: on workers.dev the edge cache does nothing (docs/deployment.md)')
  if (!(await build()) || !checkSize()) throw new Error('the build failed')
  const args = wranglerDeploy(environment, values, vars, options['dry-run'] ? ['--dry-run'] : [])
  if (!(await run('wrangler deploy', [node, ...args], { env: { ...toolEnv(), HEADWATER_SKIP_BUILD: '1' } }))) {
    throw new Error('wrangler could not deploy the Worker')
  }
}
