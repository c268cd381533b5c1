// npm run selfhost: builds the Worker, and packs everything that your own server needs into a folder.
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
      'npm run selfhost -- [--out FOLDER]    (default dist/selfhost)\n\nPacks a self-hosted Headwater into the folder. docs/deployment.md says how to run it.',
    )
  if (!(await setUp()) || !(await build())) throw new Error('the build failed')
  const { packSelfhost } = await import('./lib/selfhost.mjs') // its dependencies are installed only now
  packSelfhost(resolve(values.out))
  console.log(`[selfhost] packed into ${values.out}`)
}
