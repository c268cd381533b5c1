// A store moves from sync-cf to Headwater with `npm run move` and keeps its backendId. Events that a device had not pushed arrive.
import { execFile } from 'node:child_process'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { makeWsSync } from '@livestore/sync-cf/client'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { missing, type Running, start } from '../../benches/systems/start.ts'
import { node, root } from '../../scripts/lib/tools.mjs'
import { makeFolder, removeFolder } from '../harness/index.ts'
import { chain, Store } from '../support/store.ts'
import { eventually } from '../support/wait.ts'
import { makeOpened, type Parts, startParts } from './parts.ts'
import { checkLog, converged, notesOf, openStore } from './support.ts'

let parts: Parts
let old: Running
let folder: string
const opened = makeOpened()

beforeAll(async () => {
  folder = await makeFolder('moving', join(root, 'build'))
  await mkdir(join(folder, 'cf'))
  ;[parts, old] = await Promise.all([startParts(), start('sync-cf-ws', join(folder, 'cf'))])
})
afterEach(() => opened.stopAll())
afterAll(async () => {
  await Promise.all([parts?.stop(), old?.stop()])
  await removeFolder(folder)
})

/** The process is killed as soon as its output contains `killAt`. */
const move = (config: string, storeId: string, killAt?: string) =>
  new Promise<{ code: number; output: string }>((resolve) => {
    const child = execFile(
      node,
      [join(root, 'scripts/move.mjs'), config, '--store', storeId],
      (error, stdout, stderr) => resolve({ code: error === null ? 0 : 1, output: stdout + stderr }),
    )
    let output = ''
    child.stdout?.on('data', (text: string) => {
      output += text
      if (killAt !== undefined && output.includes(killAt)) child.kill('SIGKILL')
    })
  })

test('two devices, one with pending events, come up on Headwater with all events', async () => {
  const storeId = parts.newStore()
  const oldUrl = old.endpoint.workerUrl.replace('http', 'ws')
  const directory = join(folder, 'devices')
  const sync = { url: parts.network.url }
  const before = async (name: string, url = oldUrl) =>
    opened.add(await openStore({ name, storeId, directory, sync, backend: makeWsSync({ url }) }))
  const after = async (name: string) => opened.add(await openStore({ name, storeId, directory, sync }))

  // One after the other, because live delivery by sync-cf is not tested here
  const a = await before('a')
  a.note(250)
  await eventually(
    'all of a pushed',
    () => a.pending() === 0,
    () => a.status(),
  )
  const b = await before('b')
  await eventually(
    'all of a at b',
    () => b.count() === 250,
    () => b.status(),
  )
  b.note(50)
  await eventually(
    'all of b pushed',
    () => b.pending() === 0,
    () => b.status(),
  )
  await opened.stop(a)
  await opened.stop(b)
  // Nobody answers there
  const offline = await before('b', 'ws://127.0.0.1:9')
  offline.note(7)
  await eventually(
    'taken by the leader',
    () => offline.pendingInSession() === 0,
    () => offline.status(),
  )
  await opened.stop(offline)

  const config = join(folder, 'move.config.mjs')
  await writeFile(
    config,
    `
import { makeWsSync } from '@livestore/sync-cf/client'
import { makeSyncBackend } from 'livestore-sync-durable-streams'
export const from = makeWsSync({ url: '${oldUrl}' })
export const to = makeSyncBackend({ url: '${parts.worker.url}' })
export const adopt = { url: '${parts.upstream.url}' }
`,
  )
  for (const again of [false, true]) {
    const { code, output } = await move(config, storeId)
    expect(output).toContain('same on both sides: 300 events, head 300')
    expect(output.includes('already has 300 of them')).toBe(again)
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

test('a store moves back to sync-cf, and over sync-s2 to another tenant', async ({ annotate }) => {
  const storeId = parts.newStore()
  const writer = opened.add(await openStore({ name: 'w', storeId, sync: { url: parts.network.url } }))
  writer.note(120)
  await eventually(
    'all pushed',
    () => writer.pending() === 0,
    () => writer.status(),
  )
  const cf = `(await import('@livestore/sync-cf/client')).makeWsSync({ url: '${old.endpoint.workerUrl.replace('http', 'ws')}' })`
  const headwater = (tenant: string) =>
    `(await import('livestore-sync-durable-streams')).makeSyncBackend({ url: '${parts.worker.url}', tenant: '${tenant}' })`
  const config = join(folder, 'other.config.mjs')
  const moved = async (from: string, to: string) => {
    await writeFile(config, `export const from = ${from}\nexport const to = ${to}\n`)
    return move(config, storeId)
  }
  const same = { code: 0, output: expect.stringContaining('same on both sides: 120 events, head 120') }
  expect(await moved(headwater('default'), cf)).toEqual(same)

  const other = opened.add(await openStore({ name: 'o', storeId, sync: { url: parts.network.url, tenant: 'taken' } }))
  other.note(1)
  await eventually(
    'pushed',
    () => other.pending() === 0,
    () => other.status(),
  )
  expect(await moved(cf, headwater('taken'))).toEqual({
    code: 1,
    output: expect.stringContaining('the target has other events'),
  })

  const why = missing('sync-s2')
  if (why !== undefined) {
    console.warn(`sync-s2 is not tried: ${why}`)
    await annotate(`sync-s2 is not tried: ${why}`)
    return
  }
  await mkdir(join(folder, 's2'))
  const s2 = await start('sync-s2', join(folder, 's2'))
  try {
    const endpoint = `(await import('@livestore/sync-s2')).makeSyncBackend({ endpoint: '${s2.endpoint.workerUrl}' })`
    expect(await moved(cf, endpoint)).toEqual(same)
    expect(await moved(endpoint, headwater('from-s2'))).toEqual(same)
  } finally {
    await s2.stop()
  }
})

test('move, killed half-way and run again, goes on from there', async () => {
  const storeId = parts.newStore()
  const source = new Store(parts, { name: storeId, tenant: 'default' })
  for (let head = 0; head < 3_000; head += 100) await source.pushed(chain(head, 100))
  const config = join(folder, 'killed.config.mjs')
  await writeFile(
    config,
    `
import { makeSyncBackend } from 'livestore-sync-durable-streams'
export const from = makeSyncBackend({ url: '${parts.worker.url}' })
export const to = makeSyncBackend({ url: '${parts.worker.url}', tenant: 'moved' })
`,
  )
  const killed = await move(config, storeId, 'to: 500 of 3000')
  expect(killed).toEqual({ code: 1, output: expect.not.stringContaining('same on both sides') })
  const again = await move(config, storeId)
  expect(again.output).toMatch(/to: already has (?!3000)\d+ of them/)
  expect(again).toEqual({ code: 0, output: expect.stringContaining('same on both sides: 3000 events, head 3000') })
})

test('a store that cannot keep its old backendId gets no event, until its stream is deleted upstream and the new one adopted', async () => {
  const storeId = parts.newStore()
  const at = (tenant: string) => new Store(parts, { name: storeId, tenant })
  const told = async (tenant: string, header: string) => (await at(tenant).request('HEAD')).headers.get(header)
  await at('default').pushed(chain(0, 10))
  expect((await at('early').request('PUT')).status).toBe(201)
  const config = join(folder, 'adopt.config.mjs')
  const adopting = async (tenant: string, { adopted = tenant, tells = false } = {}) => {
    await writeFile(
      config,
      `
import { makeSyncBackend } from 'livestore-sync-durable-streams'
export const from = makeSyncBackend({ url: '${parts.worker.url}' })
export const to = makeSyncBackend({ url: '${parts.worker.url}', tenant: '${tenant}' })
export const adopt = { url: '${parts.upstream.url}', tenant: '${adopted}'${tells ? `, worker: { url: '${parts.worker.url}' }` : ''} }
`,
    )
    return move(config, storeId)
  }
  expect(await adopting('elsewhere', { adopted: 'mistaken' })).toEqual({
    code: 1,
    output: expect.stringContaining("the url or tenant of 'adopt' does not match 'to'"),
  })
  expect(await adopting('early')).toEqual({
    code: 1,
    output: expect.stringContaining('Delete its stream on the upstream itself'),
  })
  for (const tenant of ['elsewhere', 'early']) expect(await told(tenant, 'livestore-head')).toBe('0')

  expect((await fetch(at('early').upstreamUrl, { method: 'DELETE' })).ok).toBe(true)
  expect(await adopting('early', { tells: true })).toEqual({
    code: 0,
    output: expect.stringContaining('same on both sides: 10 events, head 10'),
  })
  expect(await told('early', 'livestore-backend-id')).toBe(await told('default', 'livestore-backend-id'))
})
