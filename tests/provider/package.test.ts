// What an app gets from the registry: packed, unpacked, type-checked and run.
import { execFile } from 'node:child_process'
import { mkdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { node, root } from '../../scripts/lib/tools.mjs'
import { makeFolder, removeFolder } from '../harness/index.ts'

const run = promisify(execFile)
const client = join(root, 'client')
const tsc = join(root, 'node_modules/typescript/bin/tsc')
const name = 'livestore-sync-durable-streams'

let app: string
let manifest: { dependencies: Record<string, string>; peerDependencies: Record<string, string> }

beforeAll(async () => {
  app = await makeFolder('app')
  manifest = JSON.parse(await readFile(join(client, 'package.json'), 'utf8'))
  await run('npm', ['pack', '--pack-destination', app], { cwd: client }) // builds first: `prepack`
  const { stdout } = await run('ls', [app])
  const tarball = stdout.trim()
  expect(tarball).toMatch(/^livestore-sync-durable-streams-\d+\.\d+\.\d+\.tgz$/)

  // Installs it as npm does, but links the peers from the repository
  const installed = join(app, 'node_modules', name)
  await mkdir(installed, { recursive: true })
  await run('tar', ['-xzf', join(app, tarball), '-C', installed, '--strip-components=1'])
  const needs = [...Object.keys(manifest.dependencies), ...Object.keys(manifest.peerDependencies)]
  for (const dependency of needs) {
    await mkdir(join(app, 'node_modules', dependency, '..'), { recursive: true })
    await symlink(join(root, 'node_modules', dependency), join(app, 'node_modules', dependency))
  }
}, 120_000)
afterAll(() => removeFolder(app))

test('holds what it should and nothing else', async () => {
  const { stdout } = await run('find', [join(app, 'node_modules', name), '-type', 'f', '-printf', '%P\n'])
  const files = stdout.trim().split('\n').sort()
  expect(files).toContain('README.md')
  expect(files).toContain('LICENSE')
  for (const file of ['index.js', 'index.d.ts', 'index.js.map', 'index.d.ts.map'])
    expect(files).toContain(`dist/${file}`)
  expect(files.filter((_) => !/^(dist|src)\/([a-z]+\/)?[a-z-]+\.(js|ts|d\.ts|js\.map|d\.ts\.map)$/.test(_))).toEqual([
    'LICENSE',
    'README.md',
    'package.json',
  ])
})

test('asks for the peers that LiveStore’s own providers ask for', async () => {
  const livestore = JSON.parse(await readFile(join(root, 'node_modules/@livestore/common/package.json'), 'utf8'))
  expect(manifest.peerDependencies).toEqual({ ...livestore.peerDependencies, '@livestore/common': '^0.4.0' })
})

test('its types check in an app, strictly', async () => {
  await writeFile(join(app, 'package.json'), JSON.stringify({ type: 'module' }))
  await writeFile(
    join(app, 'app.ts'),
    `
    import type { SyncOptions } from '@livestore/common'
    import { makeSyncBackend, SyncMetadata, type SyncBackendOptions } from '${name}'
    const options: SyncBackendOptions = { url: 'https://sync.example.com', headers: async () => ({ authorization: 'x' }) }
    export const sync: SyncOptions = { backend: makeSyncBackend(options) }
    export const metadata: typeof SyncMetadata.Type = { offset: '-1' }
    // @ts-expect-error no such option
    makeSyncBackend({ url: 'https://sync.example.com', nonsense: true })
  `,
  )
  const options = [
    '--module',
    'nodenext',
    '--target',
    'es2022',
    '--lib',
    'es2022,dom',
    '--strict',
    '--skipLibCheck',
    '--noEmit',
  ]
  await run(node, [tsc, ...options, 'app.ts'], { cwd: app }).catch(({ stdout }) => expect(stdout).toBe(''))
}, 60_000)

test('runs in plain Node, pings nobody there, and lets the process exit', async () => {
  await writeFile(
    join(app, 'app.mjs'),
    `
    import { makeSyncBackend } from '${name}'
    import { Effect, Fiber, Layer, Option, Stream } from 'effect'
    import { FetchHttpClient, KeyValueStore } from '@effect/platform'
    await Effect.gen(function* () {
      const backend = yield* makeSyncBackend({ url: 'http://127.0.0.1:9' })({ storeId: 's', clientId: 'c', payload: undefined })
      const pull = yield* backend.pull(Option.none(), { live: true }).pipe(Stream.runDrain, Effect.fork)
      const error = yield* Effect.flip(backend.ping)
      console.log(backend.metadata.name, error._tag)
      yield* Fiber.interrupt(pull)
    }).pipe(Effect.scoped, Effect.provide(Layer.merge(KeyValueStore.layerMemory, FetchHttpClient.layer)), Effect.runPromise)
  `,
  )
  const { stdout } = await run(node, ['app.mjs'], { cwd: app, timeout: 20_000 })
  expect(stdout).toBe(`${name} IsOfflineError\n`)
}, 30_000)

// LiveStore's next release moves to Effect 4, so few files should have to follow
test('Effect stays in three files', async () => {
  const { stdout } = await run('grep', ['-lrE', `from '(effect|@effect/|@livestore/utils)`, 'src'], { cwd: client })
  expect(stdout.trim().split('\n').sort()).toEqual(['src/options.ts', 'src/reading/cursor.ts', 'src/sync-backend.ts'])
})

test('an app in proxy mode loads nothing of the modes that go to the log itself', async () => {
  const { build } = await import('esbuild')
  await writeFile(
    join(app, 'bundled.mjs'),
    `import { makeSyncBackend } from '${name}'; console.log(makeSyncBackend({ url: 'https://sync.example.com' }))`,
  )
  const { metafile } = await build({
    absWorkingDir: app,
    entryPoints: ['bundled.mjs'],
    bundle: true,
    splitting: true,
    format: 'esm',
    outdir: 'out',
    metafile: true,
    external: ['effect', '@livestore/*'],
    logLevel: 'silent',
  })
  const loaded = new Set<string>()
  const load = (chunk: string): void => {
    if (loaded.has(chunk)) return
    loaded.add(chunk)
    for (const { path, kind } of metafile.outputs[chunk]?.imports ?? []) if (kind === 'import-statement') load(path)
  }
  load('out/bundled.js')
  const files = [...loaded]
    .flatMap((chunk) => Object.keys(metafile.outputs[chunk]?.inputs ?? {}))
    .map((file) => file.replace(/.*\//, ''))
  expect(files).toEqual(expect.arrayContaining(['sync-backend.js', 'worker-push.js', 'pull-core.js']))
  expect(
    files.filter((file) =>
      ['direct.js', 'direct-core.js', 'direct-push.js', 'upstream.js', 'first-message.js'].includes(file),
    ),
  ).toEqual([])
})
