// The older parts of a built-in log are objects of an R2 bucket. Reads find each part where it is, at any moment.
import { readdir } from 'node:fs/promises'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { makeFolder, noUpstream, removeFolder, type Server, startRustUpstream, startWorker } from '../harness/index.ts'
import { numbers } from '../support/events.ts'
import { Random, seed } from '../support/random.ts'
import { runScript } from '../support/run-script.ts'
import { chain, json, Store, walk } from '../support/store.ts'

let folder: string
let worker: Server
let store: Store

interface Deployment {
  bucket?: boolean
  upstreamUrl?: string
  vars?: Record<string, string>
}

/** Starts a Worker on the same Durable Objects and the same bucket. */
const deploy = async ({ bucket = true, upstreamUrl = '', vars = {} }: Deployment = {}) => {
  await worker?.stop()
  worker = await startWorker({ upstreamUrl, persistTo: folder, bucket, vars: { INSPECTOR: 'on', ...vars } })
}

beforeEach(async () => {
  folder = await makeFolder('bucket')
  await deploy()
  const parts = {
    get worker() {
      return worker
    },
    upstream: noUpstream,
  }
  store = new Store(parts)
})
afterEach(async () => {
  await worker?.stop()
  await removeFolder(folder)
})

const PER_PUSH = 50
/** Pushes some 0.5 MB each. */
const push = async (pushes: number, head = 0) => {
  for (let i = 0; i < pushes; i++)
    await store.pushed(chain(head + i * PER_PUSH, PER_PUSH, { text: 'x'.repeat(10_000) }))
  return head + pushes * PER_PUSH
}
const objects = async () =>
  (await readdir(folder, { recursive: true })).filter((name) => /^r2\/.*\bblobs\/[0-9a-f]+$/.test(name)).length
const storageBytes = async () => {
  const answer = await fetch(store.url.replace('/v1/stream/', '/inspect/api/'))
  return (await json<{ store: { storage: { bytes: number } } }>(answer)).store.storage.bytes
}
const seqs = async (query = 'offset=-1') =>
  (await walk(store, query)).flatMap(({ events }) => events.map(({ seqNum }) => seqNum))

test('sealed history leaves the storage, and every read finds it', async () => {
  const head = await push(20)
  await expect.poll(objects, { timeout: 10_000 }).toBeGreaterThanOrEqual(4)
  await expect.poll(storageBytes).toBeLessThan(4e6)
  await deploy()
  expect(await seqs()).toEqual(numbers(1, head))
  for (const after of [0, 1, 170, 333, head - 1])
    expect((await seqs(`after=${after}`)).filter((seq) => seq > after)).toEqual(numbers(after + 1, head))
  await push(1, head)
  expect(await seqs()).toEqual(numbers(1, head + PER_PUSH))
}, 60_000)

test('a log from before there was a bucket goes there once a segment is sealed', async () => {
  await deploy({ bucket: false })
  const head = await push(11)
  await deploy()
  const end = await push(3, head)
  await expect.poll(objects, { timeout: 10_000 }).toBeGreaterThanOrEqual(3)
  expect(await seqs()).toEqual(numbers(1, end))
}, 60_000)

test('without its bucket a store takes pushes, and its history is unavailable until the bucket is back', async () => {
  const head = await push(11)
  await expect.poll(objects, { timeout: 10_000 }).toBeGreaterThanOrEqual(2)
  await deploy({ bucket: false })
  const end = await push(1, head)
  expect((await store.read('offset=-1')).status).toBe(503)
  await deploy()
  expect(await seqs()).toEqual(numbers(1, end))
}, 60_000)

test('a full store takes pushes again once there is a bucket', async () => {
  const vars = { MAX_LOG_BYTES: '6000000' }
  await deploy({ bucket: false, vars })
  let head = 0
  const large = () => store.push(chain(head, 50, { text: 'x'.repeat(10_000) }))
  let { status } = await large()
  for (; status === 200; { status } = await large()) head += 50
  expect([status, head > 400]).toEqual([507, true])
  await deploy({ vars })
  await expect.poll(async () => (await large()).status, { timeout: 10_000 }).toBe(200)
  expect(await seqs()).toEqual(numbers(1, head + 50))
}, 60_000)

test('a deletion while parts go to the bucket leaves no object', async () => {
  for (let round = 0; round < 5; round++) {
    await push(11)
    expect((await (await store.currentIncarnation()).request('DELETE')).status).toBe(204)
  }
  await expect.poll(objects, { timeout: 10_000 }).toBe(0)
}, 60_000)

test('no crash loses a part, or leaves an object that nobody needs', async () => {
  console.log(`SEED=${seed}`)
  const random = new Random(seed)
  let head = 0
  for (let crash = 0; crash < 8; crash++) {
    head = await push(4, head)
    await new Promise((resolve) => setTimeout(resolve, random.between(0, 60)))
    await worker.kill()
    await worker.restart()
    expect(await seqs(`after=${Math.max(0, head - 400)}`)).toEqual(numbers(Math.max(0, head - 400) + 1, head))
  }
  head = await push(3, head)
  await deploy()
  expect(await seqs()).toEqual(numbers(1, head))
  expect((await (await store.currentIncarnation()).request('DELETE')).status).toBe(204)
  await expect.poll(objects, { timeout: 10_000 }).toBe(0)
}, 120_000)

test('a reset and a move leave no object', async () => {
  await push(11)
  await expect.poll(objects, { timeout: 10_000 }).toBeGreaterThanOrEqual(2)
  expect((await store.request('DELETE')).status).toBe(204)
  await expect.poll(objects, { timeout: 10_000 }).toBe(0)
  const head = await push(11)
  await expect.poll(objects, { timeout: 10_000 }).toBeGreaterThanOrEqual(2)
  const upstream = await startRustUpstream()
  try {
    await deploy({ upstreamUrl: upstream.url })
    await runScript('move', store.url, '--to', 'upstream')
    await expect.poll(objects, { timeout: 10_000 }).toBe(0)
    expect(await seqs()).toEqual(numbers(1, head))
  } finally {
    await worker.stop()
    await upstream.stop()
  }
}, 60_000)

test('a deletion without the bucket leaves no object once it is back', async () => {
  await push(11)
  await expect.poll(objects, { timeout: 10_000 }).toBeGreaterThanOrEqual(2)
  await deploy({ bucket: false })
  expect((await (await store.currentIncarnation()).request('DELETE')).status).toBe(204)
  await deploy()
  await store.request('HEAD')
  await expect.poll(objects, { timeout: 10_000 }).toBe(0)
}, 60_000)

test('short segments of a store with long names go there, too', async () => {
  await deploy({ vars: { SEGMENT_BYTES: '20000' } })
  const parts = { worker, upstream: noUpstream }
  store = new Store(parts, { name: 'x'.repeat(1_500), tenant: 'ü'.repeat(300) })
  for (let head = 0; head < 300; head += 2) await store.pushed(chain(head, 2, { text: 'x'.repeat(10_000) }))
  await expect.poll(objects, { timeout: 10_000 }).toBeGreaterThanOrEqual(1)
  expect(await seqs()).toEqual(numbers(1, 300))
}, 60_000)
