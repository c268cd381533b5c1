// A store's log moves between its Durable Object and an upstream, and is exported and imported, by the commands of the README.
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { makeFolder, noUpstream, removeFolder, type Server, startWorker } from '../harness/index.ts'
import { eventsIn, numbers } from '../support/events.ts'
import { runScript as run } from '../support/run-script.ts'
import { openSocket } from '../support/socket.ts'
import { chain, type Event, json, Store, walk } from '../support/store.ts'
import { upstreams } from './parts.ts'

const SIZE = { SEGMENT_BYTES: '20000', SEGMENT_EVENTS: '50' }

const seqs = (events: readonly Event[]) => events.map(({ seqNum }) => seqNum)
const identity = async (store: Store) => {
  const { headers } = await store.request('HEAD')
  return [headers.get('livestore-backend-id'), Number(headers.get('livestore-head'))]
}

describe.each(upstreams)('a log, beside $name', ({ start }) => {
  let folder: string
  let upstream: Server
  let worker: Server
  /** Starts a Worker on the same Durable Objects. */
  const deploy = async (upstreamUrl: string) => {
    await worker?.stop()
    worker = await startWorker({ upstreamUrl, vars: SIZE, persistTo: folder })
  }
  beforeAll(async () => {
    folder = await makeFolder('moving')
    upstream = await start()
    await deploy('')
  })
  afterAll(async () => {
    await worker?.stop()
    await upstream?.stop()
    await removeFolder(folder)
  })
  const newStore = () =>
    new Store({
      get worker() {
        return worker
      },
      upstream,
    })
  /** Events of the log at the upstream. */
  const atUpstream = async (store: Store) => {
    const response = await fetch(`${store.upstreamUrl}?offset=-1`)
    return response.status === 404 ? undefined : eventsIn<Event>(await json(response))
  }
  const all = async (store: Store) => (await walk(store)).flatMap(({ events }) => events)

  test('stays built in when the deployment gets an upstream, and moves there and back with its backend id', async () => {
    await deploy('')
    const store = newStore()
    let head = 0
    const push = async (count: number) => {
      await store.pushed(chain(head, count, { text: 'x'.repeat(300) }))
      head += count
    }
    while (head < 900) await push(30)
    const [id] = await identity(store)
    expect(
      JSON.parse(
        await (await fetch(`${worker.url}/v1/move/acme/${store.name}?to=upstream`, { method: 'POST' })).text(),
      ),
    ).toMatchObject({ _tag: 'MoveRefusedError', reason: 'no-upstream' })

    await deploy(upstream.url)
    await push(10)
    expect(seqs(await all(store))).toEqual(numbers(1, head))
    expect(await atUpstream(store)).toBeUndefined()
    const socket = await openSocket(store.url)
    await socket.until('hello')

    expect(await run('move', store.url, '--to', 'upstream')).toContain('the log is at its new place now: upstream')
    expect((await socket.until('bye')).head).toMatchObject({ bye: { reason: 'restarted' } })
    socket.close()
    expect(await identity(store)).toEqual([id, head])
    expect(seqs((await atUpstream(store)) ?? [])).toEqual(numbers(1, head))
    await push(10)
    expect(seqs((await atUpstream(store)) ?? [])).toEqual(numbers(1, head))
    for (let round = 0; round < 2; round++) expect(seqs(await all(store))).toEqual(numbers(1, head))
    await worker.restart()
    await push(10)
    expect(seqs(await all(store))).toEqual(numbers(1, head))

    expect(await run('move', store.url, '--to', 'built-in')).toContain('the log is at its new place now: built-in')
    expect(await atUpstream(store)).toBeUndefined()
    expect(await identity(store)).toEqual([id, head])
    await push(10)
    for (let round = 0; round < 2; round++) expect(seqs(await all(store))).toEqual(numbers(1, head))
    expect(await atUpstream(store)).toBeUndefined()
    await worker.restart()
    expect(seqs(await all(store))).toEqual(numbers(1, head))
  }, 60_000)

  test('loses nothing of writers that go on meanwhile', async () => {
    await deploy(upstream.url)
    const store = newStore()
    await store.pushed(chain(0, 100))
    let isOver = false
    const acknowledged: number[] = []
    const failures: number[] = []
    const write = async (writer: number) => {
      while (!isOver) {
        const head = Number((await store.request('HEAD')).headers.get('livestore-head'))
        const response = await store.push(chain(head, 1, { writer }))
        await response.text()
        if (response.status === 200) acknowledged.push(head + 1)
        else if (response.status !== 409) failures.push(response.status)
      }
    }
    const writers = [1, 2, 3].map(write)
    for (const to of ['built-in', 'upstream', 'built-in', 'upstream']) {
      const before = acknowledged.length
      await run('move', store.url, '--to', to)
      await expect.poll(() => acknowledged.length).toBeGreaterThan(before + 10)
    }
    isOver = true
    await Promise.all(writers)
    expect(failures.filter((status) => status !== 503)).toEqual([])
    const events = await all(store)
    expect(seqs(events)).toEqual(numbers(1, events.length))
    expect(events.length).toBeGreaterThanOrEqual(Math.max(...acknowledged))
    expect(await atUpstream(store)).toEqual(events)
  }, 90_000)

  test('has a new address after a move, and its readers begin again there', async () => {
    await deploy(upstream.url)
    const store = newStore()
    for (let head = 0; head < 200; head += 50) await store.pushed(chain(head, 50))
    const address = async () => {
      const { headers } = await store.request('HEAD')
      return new URL(headers.get('content-location') ?? '', worker.url).href
    }
    const readAt = (url: string) => ({ read: (query: string) => fetch(`${url}?${query}`) })
    const old = await address()
    const [first, ...rest] = await walk(readAt(old))
    expect(rest.length).toBeGreaterThan(1)
    await run('move', store.url, '--to', 'built-in')
    for (const query of ['offset=-1', `offset=${first?.next}`, 'offset=now&live=long-poll'])
      expect((await fetch(`${old}?${query}`)).status, query).toBe(410)
    const ofOldPlace = [
      `offset=${first?.next}`,
      `offset=${first?.next}&live=long-poll`,
      `offset=${first?.next}&live=sse`,
    ]
    for (const query of ofOldPlace) expect((await store.read(query)).status, query).toBe(410)
    const now = await address()
    expect(now).not.toBe(old)
    for (let round = 0; round < 2; round++)
      expect((await walk(readAt(now))).flatMap(({ events }) => seqs(events))).toEqual(numbers(1, 200))
    await run('move', store.url, '--to', 'upstream')
    // More events than before, so that each old offset lies inside of the log
    for (let head = 200; head < 400; head += 50) await store.pushed(chain(head, 50))
    for (const page of [first, ...rest].slice(0, -1)) {
      const answer = await store.read(`offset=${page?.next}`)
      if (answer.status !== 410)
        expect(eventsIn<Event>(await json(answer))[0]).toEqual(
          page?.events.at(-1) && chain(page.events.at(-1)!.seqNum, 1)[0],
        )
    }
    expect((await fetch(await address(), { method: 'DELETE' })).status).toBe(204)
  })

  test('does not come back when its store is deleted in the middle of a move', async () => {
    await deploy(upstream.url)
    const step = async (store: Store, to: string) =>
      json<{ place: string; done: boolean }>(
        await fetch(`${worker.url}/v1/move/acme/${store.name}?to=${to}`, { method: 'POST' }),
      )
    for (const restarts of [false, true]) {
      const store = newStore()
      await store.pushed(chain(0, 3))
      expect(await step(store, 'built-in')).toMatchObject({ place: 'built-in', done: false })
      expect(await atUpstream(store)).toEqual(chain(0, 3))
      expect((await (await store.currentIncarnation()).request('DELETE')).status).toBe(204)
      if (restarts) await worker.restart()
      expect(await atUpstream(store)).toBeUndefined()
      expect(await store.hasLog()).toBe(false)
      await store.pushed(chain(0, 1, 'new'))
      expect(await atUpstream(store)).toEqual(chain(0, 1, 'new'))
    }
    const store = newStore()
    await store.pushed(chain(0, 3))
    await step(store, 'built-in')
    expect((await store.request('DELETE')).status).toBe(204)
    await store.pushed(chain(0, 1, 'new'))
    await run('move', store.url, '--to', 'upstream')
    expect(await atUpstream(store)).toEqual(chain(0, 1, 'new'))
  })

  test('is whole after a move that was given up and begun again', async () => {
    await deploy(upstream.url)
    const store = newStore()
    const text = 'x'.repeat(9_000)
    for (let head = 0; head < 300; head += 50) await store.pushed(chain(head, 50, { text }))
    const order = async (to: string) => {
      const response = await fetch(`${worker.url}/v1/move/acme/${store.name}?to=${to}`, { method: 'POST' })
      return [response.status, await response.json()]
    }
    for (const to of ['built-in', 'upstream', 'built-in', 'upstream']) {
      await order(to)
      await order(to === 'built-in' ? 'upstream' : 'built-in')
      await run('move', store.url, '--to', to)
      expect(seqs(await all(store)), to).toEqual(numbers(1, 300))
    }
  }, 60_000)

  test('stays archived', async () => {
    await deploy(upstream.url)
    const store = newStore()
    await store.pushed(chain(0, 3))
    expect((await store.request('POST', { headers: { 'stream-closed': 'true' } })).status).toBe(204)
    for (const to of ['built-in', 'upstream', 'built-in']) {
      await run('move', store.url, '--to', to)
      expect((await store.request('HEAD')).headers.get('stream-closed'), to).toBe('true')
      expect((await store.push(chain(3, 1))).status).toBe(409)
      expect(seqs(await all(store))).toEqual([1, 2, 3])
    }
  })

  test('keeps what a writer in direct mode appends after the move, and says so', async () => {
    await deploy(upstream.url)
    const store = newStore()
    await store.pushed(chain(0, 3))
    const move = () => fetch(`${worker.url}/v1/move/acme/${store.name}?to=built-in`, { method: 'POST' })
    expect((await move()).status).toBe(200)
    const headers = { 'content-type': 'application/json', 'stream-seq': '0000000000000003' }
    const appended = await fetch(store.upstreamUrl, { method: 'POST', headers, body: JSON.stringify(chain(3, 1)) })
    expect(appended.status).toBeLessThan(300)
    expect(await (await move()).json()).toMatchObject({ _tag: 'MoveRefusedError', reason: 'went-on' })
    await expect(run('move', store.url, '--to', 'upstream')).rejects.toThrow('MoveRefusedError')
    expect(await (await move()).json()).toMatchObject({ _tag: 'MoveRefusedError', reason: 'went-on' })
    expect(seqs((await atUpstream(store)) ?? [])).toEqual([1, 2, 3, 4])
    expect(seqs(await all(store))).toEqual([1, 2, 3])
  })

  test('refuses what an append of its earlier life at the upstream brings', async () => {
    await deploy('')
    const store = newStore()
    for (let head = 0; head < 30; head += 10) await store.pushed(chain(head, 10))
    await deploy(upstream.url)
    await run('move', store.url, '--to', 'upstream')
    for (const parent of [0, 10, 19, 28, 29]) {
      const headers = { 'content-type': 'application/json', 'stream-seq': String(parent).padStart(16, '0') }
      const body = JSON.stringify(chain(parent, 1, 'late'))
      expect((await fetch(store.upstreamUrl, { method: 'POST', headers, body })).status, `${parent}`).toBe(409)
    }
    await store.pushed(chain(30, 1))
    expect(seqs((await atUpstream(store)) ?? [])).toEqual(numbers(1, 31))
  })

  test('begins no copy where another log is, and says so', async () => {
    await deploy('')
    const store = newStore()
    await store.pushed(chain(0, 3))
    await deploy(upstream.url)
    const body = JSON.stringify([{ livestore: { backendId: 'another', version: 1 } }])
    const headers = { 'content-type': 'application/json' }
    expect((await fetch(store.upstreamUrl, { method: 'PUT', headers, body })).status).toBe(201)
    await expect(run('move', store.url, '--to', 'upstream')).rejects.toThrow(/MoveRefusedError.*backend id: another/)
    expect(seqs(await all(store))).toEqual([1, 2, 3])
    await store.pushed(chain(3, 1))
  })

  test('goes on with a copy that an earlier move has left, and with no other one', async () => {
    await deploy('')
    const store = newStore()
    for (let head = 0; head < 60; head += 20) await store.pushed(chain(head, 20))
    const [id] = await identity(store)
    await deploy(upstream.url)
    const header = { livestore: { backendId: id, version: 1 } }
    const headers = { 'content-type': 'application/json' }
    const put = (events: Event[]) =>
      fetch(store.upstreamUrl, { method: 'PUT', headers, body: JSON.stringify([header, ...events]) })
    expect((await put(chain(0, 40, 'other'))).status).toBe(201)
    await expect(run('move', store.url, '--to', 'upstream')).rejects.toThrow('MoveRefusedError')
    await fetch(store.upstreamUrl, { method: 'DELETE' })
    expect((await put(chain(0, 40))).status).toBe(201)
    await run('move', store.url, '--to', 'upstream')
    expect(await atUpstream(store)).toEqual(chain(0, 60))
    await store.pushed(chain(60, 1))
    expect(seqs(await all(store))).toEqual(numbers(1, 61))
  }, 60_000)

  test('is exported and imported byte by byte, or up to an event', async () => {
    await deploy(upstream.url)
    const store = newStore()
    await store.pushed(
      '[{"name":"n", "args":{"x":1.0,"y":"\\u00e4"},"seqNum":1,"parentSeqNum":0,"clientId":"c","sessionId":"s"}]',
    )
    for (let head = 1; head < 2_001; head += 100) await store.pushed(chain(head, 100, { text: 'ü'.repeat(300) }))
    const [id, head] = await identity(store)
    const textAtUpstream = async () => (await fetch(`${store.upstreamUrl}?offset=-1`)).text()
    const text = await textAtUpstream()
    const lines = await run('export', store.url)
    const file = join(folder, 'export.jsonl')
    await writeFile(file, lines)
    await expect(run('import', store.url, file)).rejects.toThrow(/MoveRefusedError/)
    expect((await (await store.currentIncarnation()).request('DELETE')).status).toBe(204)

    await run('import', store.url, file)
    expect(await identity(store)).toEqual([id, head])
    expect(await run('export', store.url)).toBe(lines)
    expect((await textAtUpstream()) === text).toBe(true)
    await store.pushed(chain(2_001, 1))
    expect((await all(store)).length).toBe(2_002)

    const other = newStore()
    await run('import', other.url, file, '--until', '101')
    expect((await identity(other))[1]).toBe(101)
    expect((await identity(other))[0]).not.toBe(id)
    expect(await readFile(file, 'utf8')).toContain((await run('export', other.url)).split('\n').slice(1, -1).join('\n'))
  }, 60_000)
})

test('a store without an upstream is imported where it is', async () => {
  const worker = await startWorker({ upstreamUrl: '', vars: SIZE })
  const folder = await makeFolder('imported')
  try {
    const store = new Store({ worker, upstream: noUpstream })
    for (let head = 0; head < 250; head += 50) await store.pushed(chain(head, 50))
    const file = join(folder, 'export.jsonl')
    await writeFile(file, await run('export', store.url, '--until', '250'))
    const other = new Store({ worker, upstream: noUpstream })
    await run('import', other.url, file)
    await other.pushed(chain(250, 5))
    expect(await other.eventsInLog()).toEqual(chain(0, 255))
    const part = (query: string, body: unknown) =>
      fetch(`${worker.url}/v1/restore/acme/third?${query}`, { method: 'POST', body: JSON.stringify(body) })
    const refused = async (query: string, body: unknown) => {
      const response = await part(query, body)
      return [response.status, await response.json()]
    }
    const header = { livestore: { backendId: 'b', version: 1 } }
    expect(await refused('', [])).toMatchObject([400, { field: 'after' }])
    expect(await refused('after=0', [])).toMatchObject([409, { reason: 'invalid' }])
    expect(await refused('after=0', [header, ...chain(1, 1)])).toMatchObject([409, { reason: 'invalid' }])
    expect(await refused('after=5', chain(5, 1))).toMatchObject([409, { reason: 'not-next', copied: 0 }])
    expect((await part('after=0', [header, ...chain(0, 2)])).status).toBe(200)
    expect(await refused('after=5', chain(5, 1))).toMatchObject([409, { reason: 'not-next', copied: 2 }])
    const third = new Store({ worker, upstream: noUpstream }, { name: 'third' })
    expect((await third.push(chain(0, 1))).status).toBe(503)
    expect((await part('after=2&end=true', chain(2, 1))).status).toBe(200)
    expect(await third.eventsInLog()).toEqual(chain(0, 3))
  } finally {
    await worker.stop()
    await removeFolder(folder)
  }
})
