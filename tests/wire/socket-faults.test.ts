// Sockets while parts fail: floods, slow readers, panics, kills, and writers that the Sequencer does not see.
import { setTimeout as sleep } from 'node:timers/promises'
import { beforeAll, describe, expect, test } from 'vitest'
import { build, startRustUpstream } from '../harness/index.ts'
import { openSocket, tryUpgrade } from '../support/socket.ts'
import { chain, event, Store } from '../support/store.ts'
import { useParts } from './parts.ts'

const VARIANT = 'failpoints'
beforeAll(() => build(VARIANT), 600_000)
const parts = useParts(startRustUpstream, { UPSTREAM_TIMEOUT_MS: '2000' }, VARIANT)

/** Arms a failpoint. The next call or frame meets it. */
const arm = (place: string) => fetch(`${parts.worker.url}/health`, { headers: { 'headwater-failpoints': place } })

test('the seventeenth push that waits is refused, and the sixteen before it are not', async () => {
  const store = new Store(parts)
  await store.pushed([event(1)])
  const socket = await openSocket(store.url)
  await socket.next()
  const held = parts.proxy.next({ method: 'POST', path: store.name }, 'hold request')
  for (let id = 0; id < 17; id++) socket.send({ push: { id } }, JSON.stringify([event(id + 2)]))
  expect((await socket.next()).head).toMatchObject({
    refuse: { push: 16, problem: { status: 503, reason: 'arriving' }, retryAfterMs: 1_000 },
  })
  await held.met
  held.release()
  for (let id = 0; id < 16; id++) expect((await socket.next()).head).toMatchObject({ ack: { push: id, head: id + 2 } })
  expect(await store.eventsInLog()).toEqual(chain(0, 17))
  socket.close()
})

test('a client that does not say that it receives is closed after 1 MiB', async () => {
  const store = new Store(parts)
  const [slow, quick] = [await openSocket(store.url), await openSocket(store.url)]
  await slow.next()
  await quick.next()
  let received = 0
  for (let head = 0; head < 100; head++) {
    await store.pushed([event(head + 1, 'x'.repeat(50_000))])
    received += (await quick.next()).batch.length
    if (received > 256 * 1024) {
      quick.send({ received })
      received = 0
    }
  }
  expect((await slow.until('bye')).head).toMatchObject({ bye: { reason: 'too-slow' } })
  expect((await slow.closed).code).toBe(4408)
  quick.sendText('ping')
  expect((await quick.next()).head).toEqual({ pong: true })
  quick.close()
}, 60_000)

describe('a panic', () => {
  test.each([
    ['when a push arrives', 'arrival'],
    ['that is a trap', 'trap'],
    ['after an append has landed and before anybody is told', 'appended'],
  ])('%s closes the sockets of the store, and nothing is lost', async (_, place) => {
    const [store, idle] = [new Store(parts), new Store(parts)]
    await store.pushed([event(1)])
    const [writer, reader, other] = await Promise.all([store, store, idle].map(({ url }) => openSocket(url)))
    if (writer === undefined || reader === undefined || other === undefined) throw new Error('no sockets')
    for (const socket of [writer, reader, other]) await socket.next()
    await arm(place)
    writer.send({ push: { id: 1 } }, JSON.stringify([event(2)]))
    for (const socket of [writer, reader]) {
      expect((await socket.until('bye')).head).toMatchObject({ bye: { reason: 'restarted' } })
    }
    expect((await writer.closed).code).toBe(1012)
    // The push may have landed. The same again is accepted either way.
    await store.pushed([event(2)])
    expect(await store.eventsInLog()).toEqual(chain(0, 2))
    // A socket of another store goes on with the next module.
    await idle.pushed([event(1)])
    expect((await other.next()).batch).toBe(JSON.stringify([event(1)]))
    other.close()
  })
})

test('a killed Worker closes its sockets, and takes new ones when it is back', async () => {
  const store = new Store(parts)
  const socket = await openSocket(store.url)
  await socket.next()
  socket.send({ push: { id: 1 } }, JSON.stringify([event(1)]))
  expect((await socket.next()).head).toMatchObject({ ack: { head: 1 } })
  await parts.worker.kill()
  await socket.closed
  await parts.worker.restart()
  const again = await openSocket(store.url)
  again.send({ push: { id: 1 } }, JSON.stringify([event(2)]))
  await again.until('ack')
  expect(await store.eventsInLog()).toEqual(chain(0, 2))
  again.close()
})

test('a socket that opens after a kill begins with the head that was acknowledged, whatever the rows lack', async () => {
  const store = new Store(parts)
  await store.pushed([event(1)])
  await store.rowsWritten()
  await store.pushed([event(2)])
  await parts.worker.kill()
  await parts.worker.restart()
  const socket = await openSocket(store.url)
  expect((await socket.next()).head).toMatchObject({ hello: { head: 2 } })
  socket.close()
})

test('a halted store opens no socket', async () => {
  const store = new Store(parts)
  await store.pushed([event(1)])
  await fetch(store.upstreamUrl, { method: 'DELETE' })
  expect((await store.push([event(2)])).status).toBe(503)
  const refusal = await tryUpgrade(store.url)
  expect([refusal.status, JSON.parse(refusal.body)._tag]).toEqual([503, 'StoreHaltedError'])
})

describe('a failure of the storage', () => {
  // Rows that wait must not meet the failpoint.
  const quiet = async (store: Store) => {
    await store.pushed([event(1)])
    await store.rowsWritten()
    await sleep(300)
  }

  test('under a push ends that store’s calls and sockets only, and loses nothing', async () => {
    const [store, other] = [new Store(parts), new Store(parts)]
    await Promise.all([quiet(store), quiet(other)])
    const held = parts.proxy.next({ method: 'POST', path: other.name }, 'hold request')
    const waiting = other.push([event(2)])
    await held.met
    const socket = await openSocket(store.url)
    await socket.next()
    await store.pushed([event(2)])
    await arm('row')
    // The push waits for its second try while the rows are written.
    parts.proxy.next({ method: 'POST', path: store.name }, 'drop request')
    expect((await store.push([event(3)])).status).toBe(503)
    expect((await socket.until('bye')).head).toMatchObject({ bye: { reason: 'restarted' } })
    await sleep(700)
    held.release()
    expect((await waiting).status).toBe(200)
    await store.pushed([event(3)])
    expect(await store.eventsInLog()).toEqual(chain(0, 3))
  })

  test('under a look leaves no hole in the rows, which would halt the store', async () => {
    const store = new Store(parts)
    await quiet(store)
    await store.pushed([event(2)])
    await arm('row')
    await store.rowsWritten()
    await store.pushed([event(3)])
    await store.rowsWritten()
    await parts.worker.kill()
    await parts.worker.restart()
    await store.pushed([event(4)])
    expect(await store.eventsInLog()).toEqual(chain(0, 4))
  })
})

test('an upstream that does not answer refuses a push with 503, and the socket stays', async () => {
  const store = new Store(parts)
  await store.pushed([event(1)])
  const socket = await openSocket(store.url)
  await socket.next()
  parts.proxy.setOnline(false)
  socket.send({ push: { id: 1 } }, JSON.stringify([event(2)]))
  expect((await socket.next()).head).toMatchObject({ refuse: { push: 1, problem: { status: 503 } } })
  parts.proxy.setOnline(true)
  socket.send({ push: { id: 2 } }, JSON.stringify([event(2)]))
  expect((await socket.until('ack')).head).toMatchObject({ ack: { push: 2, head: 2 } })
  socket.close()
})

describe('a direct writer', () => {
  const append = (store: Store, seqNum: number) =>
    fetch(store.upstreamUrl, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'stream-seq': String(seqNum - 1).padStart(16, '0') },
      body: JSON.stringify([event(seqNum)]),
    })

  test('is met by a push, and watched from then on', async () => {
    const store = new Store(parts)
    await store.pushed([event(1)])
    const socket = await openSocket(store.url)
    await socket.next()
    await append(store, 2)
    expect((await store.push([event(2, 'late')])).status).toBe(409)
    expect((await socket.next()).head).toMatchObject({ moved: { head: 2 } })
    for (let seqNum = 3; seqNum < 6; seqNum++) {
      await append(store, seqNum)
      expect((await socket.next()).head).toMatchObject({ moved: { head: seqNum } })
    }
    socket.close()
  })

  test('is watched again after a panic elsewhere, once anybody asks for the store', async () => {
    const [store, elsewhere] = [new Store(parts), new Store(parts)]
    await store.pushed([event(1)])
    await append(store, 2)
    expect((await store.push([event(2, 'late')])).status).toBe(409)
    const socket = await openSocket(store.url)
    await socket.next()
    await store.rowsWritten()
    await arm('arrival')
    expect((await elsewhere.push([event(1)])).status).toBe(503)
    await store.rowsWritten()
    await append(store, 3)
    expect((await socket.next()).head).toMatchObject({ moved: { head: 3 } })
    socket.close()
  })

  test('that closes the stream is not watched without a pause', async () => {
    const store = new Store(parts)
    await store.pushed([event(1)])
    await append(store, 2)
    expect((await store.push([event(2, 'late')])).status).toBe(409)
    await fetch(store.upstreamUrl, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'stream-closed': 'true' },
    })
    const socket = await openSocket(store.url)
    await socket.next()
    await sleep(3_000)
    const asked = parts.proxy.count({ path: store.name, live: 'long-poll' })
    expect(asked).toBeGreaterThan(1)
    expect(asked).toBeLessThan(8)
    socket.close()
  })

  test('costs the upstream no request where there is none', async () => {
    const store = new Store(parts)
    await store.pushed([event(1)])
    const socket = await openSocket(store.url)
    await socket.next()
    await store.pushed([event(2)])
    await socket.next()
    const asked = parts.proxy.requests.filter(({ path }) => path.includes(`/${store.name}`))
    expect(asked.map(({ path }) => path).filter((path) => path.includes('live='))).toEqual([])
    socket.close()
  })
})
