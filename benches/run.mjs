// npm run bench -- --help: sets up and builds, then measures. Until the setup is done, this runs on the system's Node,
// and uses only Node's own modules.
import { build, onEndSignal, run, setUp, stopSteps } from '../scripts/lib/steps.mjs'
import { node } from '../scripts/lib/tools.mjs'

const HELP = `npm run bench -- [options]          Headwater and other sync backends, side by side
npm run bench -- growth [options]   how Headwater's costs grow with a store

  --only a,b        a b c c200k d e e10 f f5000 g h stores (default: all; a letter selects its variants: c is c and c200k);
                    of growth: weight costs cold memory history built-in moving
  --systems s,t     headwater headwater-built-in headwater-hybrid headwater-direct sync-cf-ws sync-cf-http sync-s2 floor (default: all)
  --rounds N        (default 5)
  --quick           one short round of everything, to see that it works
  --publish         also writes the figures and the chart to docs/
  --help

Figures go to benches/results/. The exit code is 1 if a round failed.`

if (process.argv.includes('--help')) {
  console.log(HELP)
  process.exit(0)
}
onEndSignal(async () => {
  await stopSteps()
  process.exit(130)
})
const [, , ...options] = process.argv
const growth = options[0] === 'growth'
const script = growth ? 'benches/growth/cli.ts' : 'benches/cli.ts'
const ok = (await setUp()) && (await build()) && (await run('bench', [node, script, ...options.slice(growth ? 1 : 0)]))
process.exitCode = ok ? 0 : 1
