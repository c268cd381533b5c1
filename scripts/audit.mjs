// npm run audit: are there known vulnerabilities in what Headwater depends on, under which licences is it, and where does it
// come from? Needs the advisory databases of RustSec (on GitHub) and npm; says so if it could not reach one.
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { onEndSignal, run, setUp, stopSteps } from './lib/steps.mjs'
import { root, toolEnv } from './lib/tools.mjs'

const CARGO_DENY = '0.20.2'

/** Licences that let Headwater be used and passed on under Apache-2.0. */
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

/** Packages whose licence is another, or not told, and why they may be here all the same. */
const EXCEPTIONS = {
  '@img/sharp-libvips-':
    'LGPL: a library of miniflare, which runs the Worker locally and is no part of what is deployed',
  '@livestore/wa-sqlite':
    'MIT by its repository; its package.json does not say so. Used by LiveStore, in tests and examples',
}

onEndSignal(async () => {
  await stopSteps()
  process.exit(130)
})

const checks = {
  'Rust: licences, sources, bans': () => deny('licenses', 'sources', 'bans'),
  'Rust: known vulnerabilities': () => deny('advisories'),
  'npm: licences': npmLicences,
  'npm: known vulnerabilities': () => run('npm audit', ['npm', 'audit']),
}

if (!(await setUp())) process.exit(1)
const failed = []
for (const [title, check] of Object.entries(checks)) {
  console.log(`\n=== ${title}`)
  if (!(await check())) failed.push(title)
}
console.log(failed.length === 0 ? '\nNothing found.' : `\nFound something, or could not look: ${failed.join('; ')}`)
process.exitCode = failed.length === 0 ? 0 : 1

/** @param {string[]} what */
async function deny(...what) {
  const prefix = join(root, '.toolchain')
  const tool = join(prefix, 'bin/cargo-deny')
  if (!existsSync(tool)) {
    console.log('installing cargo-deny, which takes some minutes the first time …')
    const install = ['cargo', 'install', '--locked', '--root', prefix, `cargo-deny@${CARGO_DENY}`]
    if (!(await run('cargo install cargo-deny', install, { env: { ...toolEnv(), CARGO_PROFILE_RELEASE_LTO: 'off' } })))
      return false
  }
  return run('cargo deny', [tool, 'check', '--hide-inclusion-graph', ...what])
}

async function npmLicences() {
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
    const said =
      licenses.map(({ expression, license }) => expression ?? license?.id ?? license?.name ?? '').join(' AND ') ||
      'none'
    counts.set(said, (counts.get(said) ?? 0) + 1)
    // Of a choice (OR) one will do.
    const isAllowed = said
      .replace(/[()]/g, '')
      .split(' AND ')
      .every((all) => all.split(' OR ').some((one) => ALLOWED.includes(one.trim())))
    if (isAllowed || Object.keys(EXCEPTIONS).some((prefix) => name.startsWith(prefix))) continue
    console.error(`${name} ${version}: ${said}`)
    ok = false
  }
  for (const [licence, count] of [...counts].sort(([, a], [, b]) => b - a))
    console.log(`${String(count).padStart(5)}  ${licence}`)
  return ok
}
