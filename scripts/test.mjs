// npm test: every check and every test, in order, stopping at the first that fails.
// With step names as arguments only those run, in the order below: node scripts/test.mjs setup build wire
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { build, buildClient, onEndSignal, run, setUp, stopSteps } from './lib/steps.mjs'
import { node, root } from './lib/tools.mjs'

const LINT = ['--quiet', '--', '-D', 'warnings']
const tests = { passed: 0, failed: 0 }

/** @type {Record<string, { title: string, run: () => Promise<boolean> }>} */
const STEPS = {
  setup: { title: 'set-up', run: () => setUp({ browser: wanted.includes('browser') }) },
  fmt: { title: 'cargo fmt --check', run: () => run('cargo fmt', ['cargo', 'fmt', '--check']) },
  clippy: { title: 'clippy, host and wasm', run: clippy },
  client: { title: 'build of the client', run: buildClient },
  types: { title: 'tsc, strict', run: types },
  rust: { title: 'Rust tests', run: rustTests },
  build: { title: 'build of the Worker', run: build },
  wire: { title: 'wire tests', run: () => vitest('wire') },
  chaos: { title: 'chaos tests', run: () => vitest('chaos') },
  provider: { title: 'provider tests', run: () => vitest('provider') },
  livestore: { title: 'LiveStore end-to-end tests', run: () => vitest('livestore') },
  browser: { title: 'browser tests of the example app', run: () => vitest('browser') },
}

const names = process.argv.slice(2)
const wanted = names.length > 0 ? names : Object.keys(STEPS)
const unknown = names.find((name) => !(name in STEPS))
if (unknown !== undefined) {
  console.error(`no step '${unknown}'; there are: ${Object.keys(STEPS).join(' ')}`)
  process.exit(2)
}
onEndSignal(async () => {
  await stopSteps()
  process.exit(130)
})
process.exitCode = (await runSteps()) ? 0 : 1

async function runSteps() {
  for (const [name, step] of Object.entries(STEPS)) {
    if (!wanted.includes(name)) continue
    console.log(`\n=== ${step.title}`)
    const started = Date.now()
    const failedBefore = tests.failed
    const ok = await step.run()
    const took = `${((Date.now() - started) / 1000).toFixed(1)} s`
    if (!ok) {
      if (tests.failed === failedBefore) tests.failed += 1 // a check, or a crash before the first test
      console.log(`\nFAILED: ${step.title} after ${took}. To run it alone: node scripts/test.mjs ${name}`)
      return summarize(false)
    }
    console.log(`--- ${step.title}: ok, ${took}`)
  }
  return summarize(true)
}

/** @param {boolean} ok */
function summarize(ok) {
  console.log(`\n${tests.passed} passed, ${tests.failed} failed`)
  return ok
}

async function clippy() {
  return (
    (await run('clippy (host)', ['cargo', 'clippy', '--all-targets', ...LINT])) &&
    (await run('clippy (wasm)', ['cargo', 'clippy', '--target', 'wasm32-unknown-unknown', ...LINT]))
  )
}

async function types() {
  const tsc = join(root, 'node_modules/typescript/bin/tsc')
  return (
    (await run('tsc', [node, tsc, '-p', '.'])) &&
    (await run('tsc (client)', [node, tsc, '-p', 'client', '--noEmit'])) &&
    (await run('tsc (to-do app)', [node, tsc, '-p', 'examples/todo']))
  )
}

function rustTests() {
  return run('cargo test', ['cargo', 'test'], {
    onLine(line) {
      const [, passed, failed] = line.match(/^test result: .* (\d+) passed; (\d+) failed/) ?? []
      tests.passed += Number(passed ?? 0)
      tests.failed += Number(failed ?? 0)
    },
  })
}

/** @param {string} project */
async function vitest(project) {
  const folder = mkdtempSync(join(tmpdir(), 'headwater-report-'))
  const report = join(folder, 'report.json')
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`]
  const ok = await run('vitest', [node, join(root, 'node_modules/vitest/vitest.mjs'), 'run', '--project', project, ...reporters])
  try {
    const { numPassedTests, numFailedTests } = JSON.parse(readFileSync(report, 'utf8'))
    tests.passed += numPassedTests
    tests.failed += numFailedTests
  } catch {
    return false // it crashed before it could report
  } finally {
    rmSync(folder, { recursive: true })
  }
  return ok
}
