// The log in the Sequencer's own storage: a Worker without an upstream serves what every other wire test asks of one with it.
import { once } from 'node:events'
import { readdir, stat } from 'node:fs/promises'
import { get, type IncomingMessage } from 'node:http'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { makeFolder, noUpstream, removeFolder, type Server, startWorker, whileDown } from '../harness/index.ts'
import { numbers } from '../support/events.ts'
import { openSocket } from '../support/socket.ts'
import { sse } from '../support/sse.ts'
import { chain, type Event, json, type Page, readPage, Store, walk } from '../support/store.ts'

const SIZE = { SEGMENT_BYTES: '2000', SEGMENT_EVENTS: '20' }

let worker: Server
let folder: string
beforeAll(async () => {
  folder = await makeFolder('built-in')
  worker = await startWorker({ upstreamUrl: '', vars: SIZE, persistTo: folder })
})
afterAll(async () => {
  await worker?.stop()
  await removeFolder(folder)
})

const newStore = () => new Store({ worker, upstream: noUpstream })
const nextOffset = (response: Response) => response.headers.get('stream-next-offset') ?? ''
const seqs = (pages: readonly Page[]) => pages.flatMap((_) => _.events.map((event) => event.seqNum))

describe('a store without an upstream', () => {
  test('takes pushes, and reads from the offset of each', async () => {
    const store = newStore()
    const ends: [head: number, offset: string][] = [[0, '-1']]
    for (let head = 0; head < 100; head += 7) {
      const response = await store.pushed(chain(head, 7))
      ends.push([head + 7, nextOffset(response)])
    }
    const last = ends.at(-1)?.[0] ?? 0
    for (let round = 0; round < 2; round++) {
      for (const [head, offset] of ends)
        expect(seqs(await walk(store, `offset=${offset}`))).toEqual(numbers(head + 1, last))
    }
    for (const after of [0, 1, 50, 104]) expect(seqs(await walk(store, `after=${after}`)).at(-1) ?? last).toBe(last)
    const pages = await walk(store)
    expect(pages.length).toBeGreaterThan(4)
    expect(pages[0]?.cache).toBe('HIT')
    const whole = await readPage(store, 'offset=-1&whole=true')
    expect([whole.upToDate, whole.events.length]).toEqual([true, last])
  })

  test('keeps the bytes of each event, and of a batch of 1 MiB', async () => {
    const store = newStore()
    const large = chain(0, 1, { text: 'ä'.repeat(510_000) })
    await store.pushed(`[ ${JSON.stringify(large[0])}\n]`)
    const odd =
      '[{"name":"n", "args":{"x":1.0,"y":"\\u00e4"},"seqNum":2,"parentSeqNum":1,"clientId":"c","sessionId":"s"}]'
    await store.pushed(odd)
    const text = await (await store.read('offset=-1&whole=true')).text()
    expect(text).toContain('"args":{"x":1.0,"y":"\\u00e4"}')
    expect((JSON.parse(text) as Event[]).at(1)).toEqual(large[0])
  })

  test('refuses stale pushes, gaps and other incarnations, and accepts a batch again', async () => {
    const store = newStore()
    await store.pushed(chain(0, 3))
    expect((await store.push(chain(0, 1, 'other'))).status).toBe(409)
    expect((await store.push(chain(9, 1))).status).toBe(409)
    expect((await store.push(chain(3, 1), { 'livestore-backend-id': 'another' })).status).toBe(409)
    expect((await store.push(chain(0, 3))).status).toBe(200)
    expect(seqs(await walk(store))).toEqual([1, 2, 3])
  })

  test('follows by long-poll, server-sent events and socket', async () => {
    const store = newStore()
    const end = nextOffset(await store.pushed(chain(0, 2)))
    const polled = store.read(`offset=${end}&live=long-poll`)
    const events = sse(await store.read(`offset=${end}&live=sse`))
    expect(await events.next()).toMatchObject({ value: { event: 'control' } })
    const socket = await openSocket(store.url)
    await socket.until('hello')
    await store.pushed(chain(2, 3))
    const page = await polled
    expect([page.status, (await json<Event[]>(page)).map((_) => _.seqNum)]).toEqual([200, [3, 4, 5]])
    const { value: data } = await events.next()
    expect((JSON.parse(data?.data ?? '[]') as Event[]).map((_) => _.seqNum)).toEqual([3, 4, 5])
    expect((await socket.until('events')).head).toMatchObject({ events: { parent: 2, head: 5 } })
    socket.close()
    await events.return(undefined)
  })

  test('leaves nothing behind that keeps the write-ahead log from being emptied', async () => {
    const store = newStore()
    const sizes = async (end: string) => {
      const names = (await readdir(folder, { recursive: true })).filter((name) => name.endsWith(end))
      return Promise.all(names.map(async (name) => (await stat(join(folder, name))).size))
    }
    const batches = 24
    for (let batch = 0; batch < batches; batch++) {
      await store.pushed(chain(batch * 50, 50, { text: 'x'.repeat(10_000) }))
      if (batch % 8 === 0) await walk(store)
    }
    // SQLite empties it after 1,000 pages of 4 KiB, and what is merged is written twice
    expect(Math.max(...(await sizes('.sqlite-wal')))).toBeLessThan(8 << 20)
    expect(Math.max(...(await sizes('.sqlite')))).toBeGreaterThan(6 << 20)
  })

  test('is reset, archived and deleted', async () => {
    const store = newStore()
    for (let head = 0; head < 60; head += 10) await store.pushed(chain(head, 10))
    const old = await store.currentIncarnation()
    const { next } = await readPage(old, 'offset=-1')
    expect((await store.request('DELETE')).status).toBe(204)
    expect((await old.read(`offset=${next}`)).status).toBe(410)
    expect((await store.read(`offset=${next}`)).status).toBe(410)
    await store.pushed(chain(0, 2))
    expect((await store.request('POST', { headers: { 'stream-closed': 'true' } })).status).toBe(204)
    expect((await store.push(chain(2, 1))).status).toBe(409)
    const tail = await store.read()
    expect([tail.headers.get('stream-closed'), (await json<unknown[]>(tail)).length]).toEqual(['true', 3])
    expect((await (await store.currentIncarnation()).request('DELETE')).status).toBe(204)
    expect(seqs(await walk(store))).toEqual([])
    await store.pushed(chain(0, 1))
    expect(seqs(await walk(store))).toEqual([1])
  })

  test('breaks off the answer that a reset overtakes, and never goes on with the next log', async () => {
    const store = newStore()
    const text = 'x'.repeat(900_000)
    for (let head = 0; head < 24; head++) await store.pushed(chain(head, 1, { text }))
    // Not by fetch, which reads ahead of its reader
    const [answer] = (await once(get(`${store.url}?offset=-1&whole=true`), 'response')) as [IncomingMessage]
    // Meanwhile the answer fills the buffers on its way, and waits for its reader.
    const other = newStore()
    for (let head = 0; head < 24; head++) await other.pushed(chain(head, 1, { text }))
    expect((await store.request('DELETE')).status).toBe(204)
    for (let head = 0; head < 26; head++) await store.pushed(chain(head, 1, { next: text }))
    let read = ''
    const reading = (async () => {
      for await (const part of answer.setEncoding('utf8')) read += part
    })()
    await expect(reading).rejects.toThrow('aborted')
    expect(read.length).toBeLessThan(24 * text.length)
    expect(read).not.toContain('"next"')
  }, 60_000)

  test('that is full refuses pushes by name, is still read, and goes on once there is room', async () => {
    const ownFolder = await makeFolder('built-in-full')
    const deploy = (MAX_LOG_BYTES: string) =>
      startWorker({ upstreamUrl: '', vars: { MAX_LOG_BYTES }, persistTo: ownFolder })
    let small = await deploy('400000')
    const store = () => new Store({ worker: small, upstream: noUpstream }, { name: 'full' })
    const large = (head: number) => store().push(chain(head, 1, { text: 'x'.repeat(20_000) }))
    try {
      let head = 0
      let response = await large(0)
      for (; response.status === 200; response = await large(head)) head++
      expect(head).toBeGreaterThan(10)
      expect([response.status, response.headers.get('retry-after')]).toEqual([507, '30'])
      expect(await json(response)).toMatchObject({ _tag: 'StoreFullError', type: 'urn:headwater:problem:store-full' })
      expect(small.logs()).toContain('store nearly full')
      expect(seqs(await walk(store()))).toEqual(numbers(1, head))
      await small.stop()
      small = await deploy('4000000')
      await store().pushed(chain(head, 1))
      expect(seqs(await walk(store()))).toEqual(numbers(1, head + 1))
      // A full store can be reset.
      await small.stop()
      small = await deploy('400000')
      expect((await large(head + 1)).status).toBe(507)
      expect((await store().request('DELETE')).status).toBe(204)
      expect((await store().push(chain(0, 1))).status).toBe(200)
    } finally {
      await small.stop()
      await removeFolder(ownFolder)
    }
  })

  test('loses nothing that it acknowledged when the runtime is killed in the middle of pushes', async () => {
    const store = newStore()
    let acknowledged = 0
    for (let round = 0; round < 3; round++) {
      let goesOn = true
      const pushing = (async () => {
        while (goesOn) {
          const head = Number((await store.request('HEAD')).headers.get('livestore-head'))
          const response = await store.push(chain(head, 3))
          if (response.status === 200) acknowledged = head + 3
        }
      })().catch(() => {})
      await expect.poll(() => acknowledged, { timeout: 20_000 }).toBeGreaterThan((round + 1) * 60)
      await whileDown(worker, async () => {
        goesOn = false
        await pushing
      })
      const read = seqs(await walk(store))
      expect(read).toEqual(numbers(1, read.length))
      expect(read.length).toBeGreaterThanOrEqual(acknowledged)
    }
  }, 90_000)
})
