// npm test: runs every check and every test, and stops at the first failure.
// With step names as arguments, it runs only those, in the order below: node scripts/test.mjs setup build wire
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { biome, formatRest, formatRust } from './lib/format.mjs'
import { build, buildClient, onEndSignal, run, setUp, stopSteps } from './lib/steps.mjs'
import { node, root } from './lib/tools.mjs'

const CLIPPY = ['--quiet', '--', '-D', 'warnings']
const tests = { passed: 0, failed: 0 }

/**
 * @typedef {import('./lib/steps.mjs').Options} Options
 * @typedef {{ title: string, run: (options: Options) => Promise<boolean> }} Step
 * @type {Record<string, Step>}
 */
const STEPS = {
  setup: { title: 'setup', run: (options) => setUp({ ...options, browser: isSelected('browser') }) },
  fmt: { title: 'cargo fmt --check', run: (options) => formatRust('check', options) },
  format: { title: 'biome, format and imports', run: (options) => formatRest('check', options) },
  lint: { title: 'biome, lint', run: (options) => run('biome', [...biome, 'lint', '--error-on-warnings'], options) },
  // The core builds for any host, but the Worker's crate builds for Wasm only
  clippy: {
    title: 'clippy, core',
    run: (options) => run('clippy', ['cargo', 'clippy', '-p', 'headwater-core', '--all-targets', ...CLIPPY], options),
  },
  rust: { title: 'Rust tests', run: rustTests },
  client: { title: 'build of the client', run: buildClient },
  types: { title: 'tsc, strict', run: types },
  'clippy-wasm': { title: 'clippy, Worker', run: clippyWasm },
  build: { title: 'build of the Worker', run: build },
}

/** Stages run one after another, and so do the steps of a lane. The lanes of a stage run in parallel. */
const STAGES = [
  [['setup', 'fmt', 'format', 'lint']],
  // A compiler often uses only one core. These two lanes lock different folders of target/.
  [
    ['clippy', 'rust'],
    ['client', 'types', 'clippy-wasm', 'build'],
  ],
]

/** Projects of vitest.config.ts. After all steps, one run of Vitest runs the selected ones. */
const SUITES = ['docs', 'wire', 'conformance', 'deploy', 'chaos', 'provider', 'livestore', 'browser']

const names = process.argv.slice(2)
const unknown = names.find((name) => !(name in STEPS || SUITES.includes(name)))
if (unknown !== undefined) {
  console.error(`unknown step '${unknown}'; the steps are: ${[...STAGES.flat(2), ...SUITES].join(' ')}`)
  process.exit(2)
}
onEndSignal(async () => {
  await stopSteps()
  process.exit(130)
})
const ok = await runAll()
console.log(`\n${tests.passed} passed, ${tests.failed} failed`)
process.exitCode = ok ? 0 : 1

/** @param {string} name */
function isSelected(name) {
  return names.length === 0 || names.includes(name)
}

async function runAll() {
  for (const stage of STAGES) {
    const lanes = stage.map((lane) => lane.filter(isSelected)).filter((lane) => lane.length > 0)
    if (!(await runLanes(lanes))) return false
  }
  const suites = SUITES.filter(isSelected)
  return (
    suites.length === 0 ||
    runStep(suites.join(' '), { title: `tests: ${suites.join(', ')}`, run: () => vitest(suites) })
  )
}

/** @param {string[][]} lanes */
async function runLanes(lanes) {
  let ok = true
  await Promise.all(
    lanes.map(async (lane) => {
      for (const name of lane) {
        const step = STEPS[name]
        if (!ok || step === undefined) return
        const options = lanes.length > 1 ? { prefix: `${name} | ` } : {}
        if (await runStep(name, step, options, () => ok)) continue
        ok = false
        return stopSteps()
      }
    }),
  )
  return ok
}

/**
 * @param {string} name
 * @param {Step} step
 * @param {Options} [options]
 * @param {() => boolean} [isNeeded] returns false if this step was stopped because another one failed
 */
async function runStep(name, step, options = {}, isNeeded = () => true) {
  console.log(`\n=== ${step.title}`)
  const started = Date.now()
  const failedBefore = tests.failed
  const ok = await step.run(options)
  const took = `${((Date.now() - started) / 1000).toFixed(1)} s`
  if (ok) {
    console.log(`--- ${step.title}: ok, ${took}`)
  } else if (isNeeded()) {
    if (tests.failed === failedBefore) tests.failed += 1 // a failed check, or a crash before the first test
    console.log(`\nFAILED: ${step.title} after ${took}. To run it alone: node scripts/test.mjs ${name}`)
  }
  return ok
}

/** @param {Options} options */
function clippyWasm(options) {
  // The release profile, so that the Worker's build can use the same compiled macros
  return run('clippy', ['cargo', 'clippy', '--release', '--target', 'wasm32-unknown-unknown', ...CLIPPY], options)
}

/** @param {Options} options */
async function types(options) {
  const tsc = join(root, 'node_modules/typescript/bin/tsc')
  return (
    (await run('tsc', [node, tsc, '-p', '.'], options)) &&
    (await run('tsc (client)', [node, tsc, '-p', 'client', '--noEmit'], options)) &&
    (await run('tsc (to-do app)', [node, tsc, '-p', 'examples/todo'], options)) &&
    (await run('tsc (inspector)', [node, tsc, '-p', 'inspector'], options))
  )
}

/** @param {Options} options */
function rustTests(options) {
  return run('cargo test', ['cargo', 'test', '-p', 'headwater-core'], {
    ...options,
    onLine(line) {
      const [, passed, failed] = line.match(/^test result: .* (\d+) passed; (\d+) failed/) ?? []
      tests.passed += Number(passed ?? 0)
      tests.failed += Number(failed ?? 0)
    },
  })
}

/** @param {string[]} projects */
async function vitest(projects) {
  const folder = mkdtempSync(join(tmpdir(), 'headwater-report-'))
  const report = join(folder, 'report.json')
  const chosen = projects.flatMap((project) => ['--project', project])
  const reporters = ['default', 'json', './tests/conformance/reporter.ts'].map((reporter) => `--reporter=${reporter}`)
  const ok = await run('vitest', [
    node,
    join(root, 'node_modules/vitest/vitest.mjs'),
    'run',
    ...chosen,
    ...reporters,
    `--outputFile.json=${report}`,
  ])
  try {
    const { numPassedTests, numFailedTests } = JSON.parse(readFileSync(report, 'utf8'))
    tests.passed += numPassedTests
    tests.failed += numFailedTests
  } catch {
    return false // Vitest crashed before it wrote the report
  } finally {
    rmSync(folder, { recursive: true })
  }
  return ok
}
