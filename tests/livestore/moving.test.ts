// A store moves from sync-cf to Headwater with `npm run move`, keeping its backendId: what a device had not pushed yet arrives.
import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { makeWsSync } from '@livestore/sync-cf/client'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { type Running, start } from '../../benches/systems/start.ts'
import { node, root } from '../../scripts/lib/tools.mjs'
import { makeOpened, type Parts, startParts } from './parts.ts'
import { checkLog, converged, eventually, notesOf, openStore } from './support.ts'

let parts: Parts
let old: Running
let folder: string
const opened = makeOpened()

beforeAll(async () => {
  folder = await mkdtemp(join(root, 'build/moving-'))
  await mkdir(join(folder, 'cf'))
  ;[parts, old] = await Promise.all([startParts(), start('sync-cf-ws', join(folder, 'cf'))])
})
afterEach(() => opened.stopAll())
afterAll(async () => {
  await Promise.all([parts?.stop(), old?.stop()])
  await rm(folder, { recursive: true, force: true, maxRetries: 5 })
})

const move = (config: string, storeId: string) =>
  new Promise<{ code: number; output: string }>((resolve) => {
    execFile(node, [join(root, 'scripts/move.mjs'), config, '--store', storeId], (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : 1, output: stdout + stderr }))
  })

test('two devices, one with events it has not pushed, come up on Headwater with all of them', async () => {
  const storeId = parts.newStore()
  const oldUrl = old.endpoint.workerUrl.replace('http', 'ws')
  const directory = join(folder, 'devices')
  const sync = { url: parts.network.url }
  const before = async (name: string, url = oldUrl) =>
    opened.add(await openStore({ name, storeId, directory, sync, backend: makeWsSync({ url }) }))
  const after = async (name: string) => opened.add(await openStore({ name, storeId, directory, sync }))

  const [a, b] = [await before('a'), await before('b')]
  a.note(250)
  await converged([a, b], 250)
  b.note(50)
  await converged([a, b], 300)
  await eventually('all pushed', () => a.pending() + b.pending() === 0, () => [a.status(), b.status()])
  await opened.stop(a)
  await opened.stop(b)
  // Nobody answers there
  const offline = await before('b', 'ws://127.0.0.1:9')
  offline.note(7)
  await eventually('taken by the leader', () => offline.pendingInSession() === 0, () => offline.status())
  await opened.stop(offline)

  const config = join(folder, 'move.config.mjs')
  await writeFile(config, `
import { makeWsSync } from '@livestore/sync-cf/client'
import { makeSyncBackend } from 'livestore-sync-durable-streams'
export const from = makeWsSync({ url: '${oldUrl}' })
export const to = makeSyncBackend({ url: '${parts.worker.url}' })
export const adopt = { url: '${parts.upstream.url}' }
`)
  for (const again of [false, true]) {
    const { code, output } = await move(config, storeId)
    expect(output).toContain('same on both sides: 300 events, head 300')
    expect(output.includes('has 300 of them already')).toBe(again)
    expect(code).toBe(0)
  }

  const [a2, b2] = [await after('a'), await after('b')]
  await converged([a2, b2], 307)
  a2.note(1)
  await converged([a2, b2], 308)
  const log = checkLog(await parts.atUpstream(storeId).messages())
  expect(log.notesOf('a')).toEqual(notesOf('a', 251))
  expect(log.notesOf('b')).toEqual(notesOf('b', 57))
})
