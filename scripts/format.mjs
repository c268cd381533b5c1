// npm run format: sets up, then formats Rust, TypeScript, JavaScript, JSON and CSS.
import { formatRest, formatRust } from './lib/format.mjs'
import { onEndSignal, setUp, stopSteps } from './lib/steps.mjs'

onEndSignal(async () => {
  await stopSteps()
  process.exit(130)
})
const ok = (await setUp()) && (await formatRust('write')) && (await formatRest('write'))
process.exitCode = ok ? 0 : 1
