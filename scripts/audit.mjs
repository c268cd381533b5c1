// npm run audit: checks the dependencies for known vulnerabilities, and checks their licenses and sources. It needs the
// advisory databases of RustSec (on GitHub) and npm. A check whose database can't be reached fails.
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { onEndSignal, run, setUp, stopSteps } from './lib/steps.mjs'
import { root, toolEnv } from './lib/tools.mjs'

const CARGO_DENY = '0.20.2'

/** Licenses that allow Headwater to be used and redistributed under Apache-2.0. */
const ALLOWED = [
  'Apache-2.0',
  'MIT',
  'BSD-2-Clause',
  'BSD-3-Clause',
  'ISC',
  '0BSD',
  'CC0-1.0',
  'BlueOak-1.0.0',
  'Unlicense',
  'Python-2.0',
  'CC-BY-4.0',
]

/** Packages with another license, or without one in their metadata, and the reason why they are allowed. */
const EXCEPTIONS = {
  '@img/sharp-libvips-':
    'LGPL. miniflare, which runs the Worker locally, depends on it. It is not part of a deployment',
  '@livestore/wa-sqlite':
    'MIT according to its repository, but not in its package.json. LiveStore uses it in tests and examples',
}

onEndSignal(async () => {
  await stopSteps()
  process.exit(130)
})

const checks = {
  'Rust: licenses, sources, bans': () => deny('licenses', 'sources', 'bans'),
  'Rust: known vulnerabilities': () => deny('advisories'),
  'npm: licenses': npmLicenses,
  'npm: known vulnerabilities': () => run('npm audit', ['npm', 'audit']),
}

if (!(await setUp())) process.exit(1)
const failed = []
for (const [title, check] of Object.entries(checks)) {
  console.log(`\n=== ${title}`)
  if (!(await check())) failed.push(title)
}
console.log(failed.length === 0 ? '\nNo problems found.' : `\nFailed, or could not run: ${failed.join('; ')}`)
process.exitCode = failed.length === 0 ? 0 : 1

/** @param {string[]} kinds of checks */
async function deny(...kinds) {
  const prefix = join(root, '.toolchain')
  const tool = join(prefix, 'bin/cargo-deny')
  if (!existsSync(tool)) {
    console.log('installing cargo-deny, which takes a few minutes …')
    const install = ['cargo', 'install', '--locked', '--root', prefix, `cargo-deny@${CARGO_DENY}`]
    if (!(await run('cargo install cargo-deny', install, { env: { ...toolEnv(), CARGO_PROFILE_RELEASE_LTO: 'off' } })))
      return false
  }
  return run('cargo deny', [tool, 'check', '--hide-inclusion-graph', ...kinds])
}

async function npmLicenses() {
  const { stdout } = await promisify(execFile)('npm', ['sbom', '--sbom-format', 'cyclonedx'], {
    cwd: root,
    env: toolEnv(),
    maxBuffer: 1 << 28,
  })
  /** @type {{ components: { group?: string, name: string, version: string, licenses?: { expression?: string, license?: { id?: string, name?: string } }[] }[] }} */
  const { components } = JSON.parse(stdout)
  /** @type {Map<string, number>} */
  const counts = new Map()
  let ok = true
  for (const { name, version, licenses = [] } of components) {
    const declared =
      licenses.map(({ expression, license }) => expression ?? license?.id ?? license?.name ?? '').join(' AND ') ||
      'none'
    counts.set(declared, (counts.get(declared) ?? 0) + 1)
    // One allowed license of a choice (OR) is enough.
    const isAllowed = declared
      .replace(/[()]/g, '')
      .split(' AND ')
      .every((all) => all.split(' OR ').some((one) => ALLOWED.includes(one.trim())))
    if (isAllowed || Object.keys(EXCEPTIONS).some((prefix) => name.startsWith(prefix))) continue
    console.error(`${name} ${version}: ${declared}`)
    ok = false
  }
  for (const [license, count] of [...counts].sort(([, a], [, b]) => b - a))
    console.log(`${String(count).padStart(5)}  ${license}`)
  return ok
}
