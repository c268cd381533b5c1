// The life of a store: archived, reset, closed by somebody else. On every log.
import { describe, expect, test } from 'vitest'
import { openSocket } from '../support/socket.ts'
import { sse } from '../support/sse.ts'
import { chain, json, type Problem, Store } from '../support/store.ts'
import { bearer, hs256, JWT } from '../support/tokens.ts'
import { logs, type Parts, useParts } from './parts.ts'

const archive = (store: Store, headers: Record<string, string> = {}) =>
  store.request('POST', { headers: { 'stream-closed': 'true', ...headers } })

const closedUpstream = (store: Store) =>
  fetch(store.upstreamUrl, { method: 'POST', headers: { 'stream-closed': 'true' } })

const identity = ({ status, headers }: Response) => ({
  status,
  backend: headers.get('livestore-backend-id'),
  head: headers.get('livestore-head'),
  tail: headers.get('stream-next-offset'),
  closed: headers.get('stream-closed'),
})

const controls = async (response: Response) => {
  const all: Record<string, unknown>[] = []
  for await (const { event, data } of sse(response)) if (event === 'control') all.push(JSON.parse(data))
  return all
}

/** Waits for a long-poll at the upstream. A built-in log does not show who reads it. */
const polling = async (store: Store, { proxy }: Partial<Parts>, expectation = expect) => {
  if (proxy !== undefined) await expectation.poll(() => proxy.count({ path: store.name, live: 'long-poll' })).toBe(1)
}

/** A live read of each kind, which has reached the tail. */
const follow = async (store: Store, parts: Parts) => {
  const offset = (await store.request('HEAD')).headers.get('stream-next-offset')!
  const polled = store.read(`offset=${offset}&live=long-poll`)
  const streamed = await store.read(`offset=${offset}&live=sse`)
  await polling(store, parts)
  return { polled, streamed: controls(streamed) }
}

const onEachLog = logs.map(({ name, start }) => ({ name, parts: useParts(start) }))

// A server may forget the readers of a stream that was deleted. The Worker ends their connections after 70 s.
test.concurrent.for(onEachLog)(
  'a reset ends live reads, and the next request tells the new incarnation, on $name',
  { timeout: 120_000 },
  async ({ parts }, { expect }) => {
    const store = new Store(parts)
    await store.pushed(chain(0, 2))
    const before = (await store.request('HEAD')).headers.get('livestore-backend-id')
    const offset = (await store.request('HEAD')).headers.get('stream-next-offset')
    const polled = store.read(`offset=${offset}&live=long-poll`)
    const streamed = controls(await store.read(`offset=${offset}&live=sse`))
    await polling(store, parts, expect)
    const socket = await openSocket(store.url)
    expect((await socket.next()).head).toMatchObject({ hello: { backend: before } })
    const reset = await store.request('DELETE')
    expect(reset.status).toBe(204)
    const after = reset.headers.get('livestore-backend-id')
    expect(after).not.toBe(before)
    expect((await socket.next()).head).toEqual({ reset: { backend: after } })
    expect(identity(await store.read())).toMatchObject({ status: 200, backend: after, head: '0', closed: null })
    socket.close()
    await streamed
    expect((await polled).status).toBe(410)
    expect((await store.read(`offset=${offset}`)).status).toBe(410)
  },
)

describe.each(logs)('on $name', ({ start, isBuiltIn }) => {
  const parts = useParts(start)

  test('an archived store refuses pushes by name, and can be read', async () => {
    const store = new Store(parts)
    await store.pushed(chain(0, 3))
    const open = identity(await store.request('HEAD'))
    const { polled, streamed } = await follow(store, parts)
    const socket = await openSocket(store.url)
    await socket.next()

    const archived = { ...open, status: 204, closed: 'true' }
    expect(identity(await archive(store))).toEqual(archived)
    expect(identity(await archive(store, { 'content-type': 'application/json' }))).toEqual(archived)
    expect((await polled).headers.get('stream-closed')).toBe('true')
    expect((await streamed).at(-1)).toMatchObject({ streamClosed: true })

    const asked = () => (isBuiltIn ? 0 : parts.proxy.count({ path: store.name }))
    const before = asked()
    const refused = await store.push(chain(3, 1))
    expect(identity(refused)).toEqual({ ...archived, status: 409, head: null })
    expect(refused.headers.get('content-type')).toBe('application/problem+json')
    expect(await json<Problem>(refused)).toMatchObject({
      type: 'urn:headwater:problem:store-closed',
      _tag: 'StoreClosedError',
      detail: expect.stringContaining('archived'),
    })
    socket.send({ push: { id: 7, backend: open.backend } }, JSON.stringify(chain(3, 1)))
    expect((await socket.until('refuse')).head).toMatchObject({
      refuse: { push: 7, problem: { _tag: 'StoreClosedError', status: 409 } },
    })
    socket.close()
    expect(asked(), 'a refused push asks the upstream').toBe(before)
    expect((await store.push(chain(0, 3))).status, 'a lost acknowledgement').toBe(200)

    expect(identity(await store.request('HEAD'))).toEqual({ ...archived, status: 200 })
    expect((await store.request('PUT')).status).toBe(409)
    expect(await store.events()).toEqual(chain(0, 3))
    const atTail = await store.read(`offset=${open.tail}`)
    expect(await atTail.json()).toEqual([])
    expect(atTail.headers.get('stream-closed')).toBe('true')
    expect(await controls(await store.read('offset=-1&live=sse'))).toMatchObject([{ streamClosed: true }])

    await parts.worker.restart()
    expect((await json<Problem>(await store.push(chain(3, 1))))._tag).toBe('StoreClosedError')
    expect((await store.request('DELETE')).status).toBe(204)
    await store.pushed(chain(0, 1))
  })

  test.skipIf(isBuiltIn)('a stream that somebody else closed is an archived store', async () => {
    const store = new Store(parts)
    await store.pushed(chain(0, 3))
    expect((await closedUpstream(store)).status).toBe(204)
    expect((await json<Problem>(await store.push(chain(3, 1))))._tag).toBe('StoreClosedError')
    expect((await store.request('HEAD')).headers.get('stream-closed')).toBe('true')
    expect((await archive(store)).status).toBe(204)
    // Nobody here has seen the log before.
    const found = new Store(parts)
    const json_ = { 'content-type': 'application/json' }
    await fetch(found.upstreamUrl, { method: 'PUT', headers: json_, body: JSON.stringify(chain(0, 2)) })
    await closedUpstream(found)
    expect((await json<Problem>(await found.push(chain(2, 1))))._tag).toBe('StoreClosedError')
  })

  test('a store without a stream can not be archived', async () => {
    const refused = await archive(new Store(parts))
    expect(refused.status).toBe(404)
    expect(await json<Problem>(refused)).toMatchObject({ _tag: 'StreamNotFoundError' })
  })
})

describe('with tokens', () => {
  const parts = useParts(undefined, JWT)

  test('archiving needs the scope admin', async () => {
    const store = new Store(parts)
    const as = (scope: string) => bearer(hs256({ tenant: 'acme', stores: '*', scope }))
    expect((await store.push(chain(0, 1), as('write'))).status).toBe(200)
    const refused = await archive(store, as('read write'))
    expect(refused.status).toBe(403)
    expect(await refused.json()).toMatchObject({ reason: 'scope', scope: 'admin' })
    expect((await archive(store, as('admin'))).status).toBe(204)
  })
})
