// LiveStore's own command line, `livestore sync export` and `import` of @livestore/cli 0.4.0, with this provider. The command
// creates and connects the backend in the acquire of `Effect.acquireUseRelease`, which nothing interrupts from outside.
// Therefore the provider's own races and forks must be interruptible.
import { type ChildProcess, spawn } from 'node:child_process'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { node, root, toolEnv } from '../../scripts/lib/tools.mjs'
import type { CountingProxy } from '../harness/index.ts'
import { makeFolder, removeFolder } from '../harness/index.ts'
import { type Mode, modes, startWorld, type World } from '../support/world.ts'
import { checkLog, fill, notesOf } from './support.ts'

/** The command starts in a second or two. The rest is for a machine busy with other test files. */
const RUN_MS = 30_000
/** The process must end within this time after the signal, which is shorter than any request's timeout. */
const EXIT_MS = 5_000

let world: World
let folder: string
const children = new Set<ChildProcess>()

beforeAll(async () => {
  world = await startWorld()
  // The folder lies below the repository, so that Node finds the imports
  folder = await makeFolder('cli', join(root, 'build'))
})
afterAll(async () => {
  for (const child of children) child.kill('SIGKILL')
  await world?.stop()
  await removeFolder(folder)
})

interface Ended {
  readonly code: number | null
  readonly signal: string | null
  readonly output: string
}

interface Run {
  readonly ended: Promise<Ended>
  readonly signal: (name: 'SIGTERM' | 'SIGINT') => void
}

/** `livestore sync <args>`, with a store in one of the modes. */
const livestore = async (mode: Mode, args: readonly string[]): Promise<Run> => {
  const config = join(folder, `${mode}.config.ts`)
  await writeFile(
    config,
    `
import { makeSyncBackend } from 'livestore-sync-durable-streams'
export { schema } from '../../tests/livestore/support.ts'
export const syncBackend = makeSyncBackend(${JSON.stringify(world.access(mode))})
`,
  )
  const bin = join(root, 'node_modules/@livestore/cli/dist/bin.js')
  const child = spawn(node, [bin, 'sync', ...args, '--config', config], {
    cwd: folder,
    env: toolEnv(),
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  children.add(child)
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (output += chunk))
  const ended = new Promise<Ended>((resolve) =>
    child.once('close', (code, signal) => {
      children.delete(child)
      resolve({ code, signal, output })
    }),
  )
  return { ended, signal: (name) => child.kill(name) }
}

const within = <A>(ms: number, what: string, work: Promise<A>): Promise<A> => {
  const late = new Promise<never>((_, reject) =>
    setTimeout(() => reject(new Error(`not within ${ms} ms: ${what}`)), ms).unref(),
  )
  return Promise.race([work, late])
}

const run = async (mode: Mode, args: readonly string[]): Promise<Ended> =>
  within(RUN_MS, `livestore sync ${args.join(' ')} (${mode})`, (await livestore(mode, args)).ended)

const EVENTS = 250

const seed = async (storeId: string) =>
  expect(new Set(await fill(world.atWorker(storeId), EVENTS))).toEqual(new Set([200]))

describe.concurrent('livestore sync', { timeout: 90_000 }, () => {
  test.for(modes)('export and import copy a store: %s', async (mode, { expect }) => {
    const [from, to] = [world.newStore(), world.newStore()]
    const file = join(folder, `${from}.json`)
    await seed(from)
    const exported = await run(mode, ['export', '--store-id', from, file])
    expect(exported).toEqual({ code: 0, signal: null, output: expect.stringContaining(`Exported ${EVENTS} events`) })
    const { eventCount, events } = JSON.parse(await readFile(file, 'utf8')) as {
      eventCount: number
      events: { seqNum: number }[]
    }
    expect([eventCount, events.at(0)?.seqNum, events.at(-1)?.seqNum]).toEqual([EVENTS, 1, EVENTS])

    const imported = await run(mode, ['import', '--force', '--store-id', to, file])
    expect(imported).toEqual({
      code: 0,
      signal: null,
      output: expect.stringContaining(`Successfully imported ${EVENTS} events`),
    })
    const log = checkLog(await world.atUpstream(to).messages())
    expect([log.events, log.notesOf('w')]).toEqual([EVENTS, notesOf('w', EVENTS)])
  })
})

/** The command's first request in a mode, and its read. */
const roads = (mode: Mode): { connect: CountingProxy; read: CountingProxy } => ({
  connect: mode === 'direct' ? world.bypass : world.network,
  read: mode === 'proxy' ? world.network : world.bypass,
})

describe('livestore sync while the server is down', () => {
  test.each(modes)(
    '%s: ends by itself if nobody listens',
    async (mode) => {
      for (const network of [world.network, world.bypass]) network.setOnline(false)
      try {
        const { code, output } = await run(mode, ['export', '--store-id', world.newStore(), join(folder, 'away.json')])
        expect([code, output]).toEqual([1, expect.stringContaining('offline')])
      } finally {
        for (const network of [world.network, world.bypass]) network.setOnline(true)
      }
    },
    40_000,
  )

  describe.each(modes)('%s', (mode) => {
    test.each(['connect', 'read'] as const)(
      'SIGTERM ends it while it waits for the answer to its first %s',
      async (stage) => {
        const storeId = world.newStore()
        await seed(storeId)
        const held = roads(mode)[stage].next(stage === 'read' ? { method: 'GET', path: storeId } : {}, 'hold request')
        try {
          const { ended, signal } = await livestore(mode, ['export', '--store-id', storeId, join(folder, 'held.json')])
          await within(RUN_MS, 'the request that is held', held.met)
          signal('SIGTERM')
          const { output } = await within(EXIT_MS, 'the end of the process', ended)
          expect(output).not.toContain('Exported')
        } finally {
          held.release()
        }
      },
      40_000,
    )
  })
})
