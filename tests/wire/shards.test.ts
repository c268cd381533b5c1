// An upstream of several servers: each store's log is on one of them, and stays there until it is moved.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { isFree } from '../../scripts/lib/ports.mjs'
import { freePort, makeFolder, removeFolder, type Server, startRustUpstream, startWorker } from '../harness/index.ts'
import { numbers } from '../support/events.ts'
import { runScript } from '../support/run-script.ts'
import { chain, json, Store, walk } from '../support/store.ts'

let folder: string
let servers: Server[]
let worker: Server
/** The URL of the servers, up to the last digit of the port. */
let base: string

const urlOf = (digit: string) => `${base}${digit}/v1/stream`

/** Starts a Worker on the same Durable Objects, in new isolates. */
const deploy = async (upstreamUrl: string, vars = {}) => {
  await worker?.stop()
  worker = await startWorker({ upstreamUrl, persistTo: folder, vars: { INSPECTOR: 'on', ...vars } })
}

/** Two free ports that differ in the last digit only, which is 0 or 1. */
const freePorts = async (): Promise<[number, number]> => {
  for (;;) {
    const port = Math.floor((await freePort()) / 10) * 10
    if ((await isFree(port)) && (await isFree(port + 1))) return [port, port + 1]
  }
}

beforeAll(async () => {
  folder = await makeFolder('shards')
  const ports = await freePorts()
  servers = await Promise.all(ports.map((port) => startRustUpstream({ port })))
  base = `http://127.0.0.1:${ports[0] / 10}`
})
afterAll(async () => {
  await worker?.stop()
  for (const server of servers ?? []) await server.stop()
  await removeFolder(folder)
})

/** docs/deployment.md, "Several servers". */
const shardOf = (name: string, count: number) => {
  let hash = 0x811c9dc5
  for (const byte of new TextEncoder().encode(`default/${name}`)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0
  return hash % count
}

let stores = 0
/** A new store whose hash has these remainders. */
const newStore = (hash: Readonly<Record<number, number>> = {}) => {
  for (;;) {
    const name = `store-${++stores}`
    if (Object.entries(hash).some(([count, shard]) => shardOf(name, Number(count)) !== shard)) continue
    const current = {
      get worker() {
        return worker
      },
      upstream: servers[0] as Server,
    }
    return new Store(current, { name, tenant: 'default' })
  }
}

/** The servers that have a log of the store. */
const shardsOf = async (store: Store) => {
  const ask = (shard: number) => fetch(`${urlOf(String(shard))}/default/${store.name}`, { method: 'HEAD' })
  const found = await Promise.all([0, 1].map(ask))
  return found.flatMap(({ status }, shard) => (status === 200 ? [shard] : []))
}
const seqs = async (store: Store) => (await walk(store)).flatMap(({ events }) => events.map(({ seqNum }) => seqNum))

test('new stores begin on the server that their hash names', async () => {
  await deploy(urlOf('{shard:2}'))
  for (const shard of [0, 1, 0, 1]) {
    const store = newStore({ 2: shard })
    await store.pushed(chain(0, 3))
    expect(await shardsOf(store)).toEqual([shard])
    expect(await seqs(store)).toEqual(numbers(1, 3))
  }
})

test('another number of shards moves no store, also if its isolate and its Sequencer are new', async () => {
  await deploy(urlOf('{shard:3}'))
  const [one, other] = [newStore({ 3: 0, 2: 1 }), newStore({ 3: 1, 2: 0 })]
  for (const store of [one, other]) await store.pushed(chain(0, 3))
  await deploy(urlOf('{shard:2}'))
  for (const store of [one, other]) {
    expect(await seqs(store)).toEqual(numbers(1, 3))
    await store.pushed(chain(3, 2))
    expect(await seqs(store)).toEqual(numbers(1, 5))
  }
  expect(await shardsOf(one)).toEqual([0])
  expect(await shardsOf(other)).toEqual([1])
})

test('a store that began when there was one server stays on it, which is shard 0', async () => {
  await deploy(urlOf('0'))
  const [before, deleted] = [newStore({ 2: 1 }), newStore({ 2: 1 })]
  for (const store of [before, deleted]) await store.pushed(chain(0, 3))
  await deploy(urlOf('{shard:2}'))
  expect(await seqs(before)).toEqual(numbers(1, 3))
  await before.pushed(chain(3, 1))
  expect(await shardsOf(before)).toEqual([0])
  expect((await deleted.request('DELETE')).status).toBe(204)
  await deleted.pushed(chain(0, 1))
  expect(await seqs(deleted)).toEqual([1])
  expect(await shardsOf(deleted)).toEqual([0])
  await deploy(urlOf('{shard:2}'))
  await before.pushed(chain(4, 1))
  expect(await seqs(before)).toEqual(numbers(1, 5))
})

test('a read of a store that does not exist chooses no server for it', async () => {
  await deploy(urlOf('{shard:3}'))
  const store = newStore({ 3: 0, 2: 1 })
  await (await store.read()).text()
  await store.request('HEAD')
  await deploy(urlOf('{shard:2}'))
  await store.pushed(chain(0, 1))
  expect(await shardsOf(store)).toEqual([1])
})

test('a move into the Durable Object and back chooses the server anew, and keeps the backend id', async () => {
  await deploy(urlOf('{shard:3}'))
  const store = newStore({ 3: 0, 2: 1 })
  await store.pushed(chain(0, 3))
  const backendId = async () => (await store.request('HEAD')).headers.get('livestore-backend-id')
  const before = await backendId()
  await deploy(urlOf('{shard:2}'))
  await runScript('move', store.url, '--to', 'built-in')
  expect(await shardsOf(store)).toEqual([])
  await store.pushed(chain(3, 1))
  await runScript('move', store.url, '--to', 'upstream')
  expect(await shardsOf(store)).toEqual([1])
  await store.pushed(chain(4, 1))
  expect(await seqs(store)).toEqual(numbers(1, 5))
  expect(await backendId()).toBe(before)
  await deploy(urlOf('{shard:3}'))
  expect(await seqs(store)).toEqual(numbers(1, 5))
})

test('a stored number is forgotten with the log that it was for', async () => {
  await deploy(urlOf('{shard:2}'))
  const [moved, deleted] = [newStore({ 2: 1 }), newStore({ 2: 1 })]
  const refused = newStore({ 2: 1 })
  for (const store of [moved, deleted]) await store.pushed(chain(0, 3))
  await runScript('move', moved.url, '--to', 'built-in')
  expect((await (await deleted.currentIncarnation()).request('DELETE')).status).toBe(204)
  expect(await shardsOf(deleted)).toEqual([])
  await servers[1]?.kill()
  expect((await refused.push(chain(0, 1))).status).toBe(503)
  await servers[1]?.restart()
  // One server again: what begins there is on shard 0
  await deploy(urlOf('0'))
  await runScript('move', moved.url, '--to', 'upstream')
  for (const store of [deleted, refused]) await store.pushed(chain(0, 2))
  await deploy(urlOf('{shard:2}'))
  expect(await seqs(moved)).toEqual(numbers(1, 3))
  for (const store of [deleted, refused]) expect(await seqs(store)).toEqual([1, 2])
  for (const store of [moved, deleted, refused]) expect(await shardsOf(store)).toEqual([0])
})

test('a store that was deleted for good begins on a server that still counts', async () => {
  await deploy(urlOf('{shard:2}'))
  const store = newStore({ 2: 1 })
  await store.pushed(chain(0, 3))
  await deploy(urlOf('{shard:3}'))
  expect((await (await store.currentIncarnation()).request('DELETE')).status).toBe(204)
  await deploy(urlOf('0'))
  await store.pushed(chain(0, 1))
  expect(await shardsOf(store)).toEqual([0])
})

test('an isolate that knows only the tip reads sealed history where it is, while the server of its guess is down', async () => {
  await deploy(urlOf('{shard:3}'), { SEGMENT_EVENTS: '10' })
  const store = newStore({ 3: 0, 2: 1 })
  await store.pushed(chain(0, 20))
  await servers[1]?.kill()
  await deploy(urlOf('{shard:2}'), { SEGMENT_EVENTS: '10' })
  await store.pushed(chain(20, 1))
  expect(await seqs(store)).toEqual(numbers(1, 21))
  await servers[1]?.restart()
})

test('the inspector tells the shard', async () => {
  await deploy(urlOf('{shard:2}'))
  const store = newStore({ 2: 1 })
  await store.pushed(chain(0, 1))
  const answer = await json(await fetch(store.url.replace('/v1/stream/', '/inspect/api/')))
  expect(answer).toMatchObject({ store: { shard: 1 } })
})

test('a store that began in its Durable Object moves to the server that its hash names', async () => {
  await deploy('')
  const store = newStore({ 2: 1 })
  await store.pushed(chain(0, 3))
  await deploy(urlOf('{shard:2}'))
  await runScript('move', store.url, '--to', 'upstream')
  expect(await shardsOf(store)).toEqual([1])
  await deploy(urlOf('{shard:2}'))
  expect(await seqs(store)).toEqual(numbers(1, 3))
})

test('while one server is down, its stores are unavailable, the others go on, and the Worker is not ready', async () => {
  await deploy(urlOf('{shard:2}'))
  const [up, down] = [newStore({ 2: 0 }), newStore({ 2: 1 })]
  for (const store of [up, down]) await store.pushed(chain(0, 1))
  const ready = async () => {
    const answer = await fetch(`${worker.url}/ready`)
    await answer.text()
    return answer.status
  }
  await expect.poll(ready).toBe(200)
  await servers[1]?.kill()
  await expect.poll(ready, { timeout: 10_000 }).toBe(503)
  await up.pushed(chain(1, 1))
  expect((await down.push(chain(1, 1))).status).toBe(503)
  await servers[1]?.restart()
  await expect.poll(ready, { timeout: 10_000 }).toBe(200)
  await expect.poll(async () => (await down.push(chain(1, 1))).status, { timeout: 10_000 }).toBe(200)
})
