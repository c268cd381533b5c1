// npm run selfhost: builds the Worker and packs all that a server of one's own needs into a folder.
import { resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { build, onEndSignal, setUp, stopSteps } from './lib/steps.mjs'

onEndSignal(async () => {
  await stopSteps()
  process.exit(130)
})
main().catch((error) => {
  console.error(`[selfhost] ERROR: ${error.message}`)
  process.exit(1)
})

async function main() {
  const { values } = parseArgs({
    options: { out: { type: 'string', default: 'dist/selfhost' }, help: { type: 'boolean', default: false } },
  })
  if (values.help)
    return console.log(
      'npm run selfhost -- [--out FOLDER]    (default dist/selfhost)\n\ndocs/deployment.md tells what to do with it.',
    )
  if (!(await setUp()) || !(await build())) throw new Error('the build failed')
  const { packSelfhost } = await import('./lib/selfhost.mjs') // once what it imports is installed
  packSelfhost(resolve(values.out))
  console.log(`[selfhost] packed into ${values.out}`)
}
