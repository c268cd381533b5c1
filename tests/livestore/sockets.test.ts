// Stores whose live pulls and pushes share one WebSocket, and what a network does to it.
import { afterAll, beforeAll, describe, type TestContext, test } from 'vitest'
import type { CommonOptions } from '../../client/src/index.ts'
import { answers, type Fault, type Says } from '../harness/index.ts'
import { eventually } from '../support/wait.ts'
import { type Parts, report, startParts, timed } from './parts.ts'
import { type Device, goesOn, makeScene, troubled, whole } from './scene.ts'
import { notesFrom } from './support.ts'

let parts: Parts

beforeAll(async () => {
  parts = await startParts()
})
afterAll(() => parts?.stop())

/** Two devices that have synced a note of each; `a` is on its socket. `live` and `says` are for the device `a`. */
const begin = async (
  { onTestFinished }: TestContext,
  { live = {}, says }: { live?: NonNullable<CommonOptions['live']>; says?: Says } = {},
) => {
  const scene = makeScene(parts)
  onTestFinished(scene.close)
  const [a, b] = await Promise.all([
    scene.open('a', { sync: { live: { reconnectSpread: 100, ...live } } }),
    scene.open('b', { sync: { live: { reconnectSpread: 100 } } }),
  ])
  a.note(1)
  await whole([a, b], 1)
  b.note(1)
  await whole([a, b], 2)
  // What is said must meet a later socket than the first
  await onSocket(a)
  if (says !== undefined) a.stranger.comes(says, { live: 'websocket' })
  return { ...scene, a, b }
}

/** Waits until the device is on its socket number `count`, and the server has greeted it. Returns the bytes of the server. */
const onSocket = async (device: Device, count = 1): Promise<number> => {
  const sent = () => device.network.requests.filter((_) => _.query.get('live') === 'websocket').at(count - 1)?.sent ?? 0
  await eventually(
    `${device.name} is on its socket ${count}`,
    () => sent() > 0 && device.isConnected(),
    () => device.status(),
  )
  return sent()
}

const on = (device: Device, live: 'websocket' | 'sse' | 'long-poll') => device.network.count({ live })

test('pulls and pushes share one socket: no other live read, and no push by HTTP', async (context) => {
  const scene = await begin(context)
  const { a, b } = scene
  await Promise.all([onSocket(a), onSocket(b)])
  for (const { network } of [a, b]) network.clear()
  for (let round = 1; round <= 5; round++) {
    a.note(round)
    await whole([a, b], 2 + round * (round - 1) + round)
    b.note(round)
    await whole([a, b], 2 + round * (round + 1))
  }
  context.expect([a, b].map(({ network }) => network.requests.length)).toEqual([0, 0])
  await goesOn(context, scene, { a: 16, b: 16 })
})

test('the Worker is killed with open sockets, three times: the stores go on', async (context) => {
  const scene = await begin(context)
  const { a, b } = scene
  for (let round = 1; round <= 3; round++) {
    a.note(3)
    b.note(3)
    await parts.worker.kill()
    a.note(1)
    b.note(1)
    await parts.worker.restart()
    await whole([a, b], 2 + 8 * round, 20_000)
  }
  context.expect(on(a, 'websocket')).toBeGreaterThan(1)
  await goesOn(context, scene, { a: 13, b: 13 })
}, 90_000)

describe.concurrent('a socket is cut in mid-frame while both write', () => {
  test.for(['reset', 'end'] as const)('%s: every event arrives once', { timeout: 60_000 }, async (cutBody, context) => {
    const scene = await begin(context)
    const { a, b } = scene
    let cuts = 0
    // The greeting has about 200 bytes, an acknowledgement 100, and the event of a note 200
    const after = [250, 0, 900, 2_500, 450, 1_700]
    for (const { network } of [a, b]) {
      let sockets = 0
      network.inject(
        ({ query }): Fault | undefined => {
          const bytes = query.get('live') === 'websocket' ? after[sockets++] : undefined
          return bytes === undefined ? undefined : { cutBody, after: bytes }
        },
        () => void cuts++,
      )
    }
    for (const { cut } of [a, b]) cut()
    for (let round = 1; round <= 10; round++) {
      a.note(2)
      b.note(2)
      await whole([a, b], 2 + 4 * round, 15_000)
    }
    context.expect(cuts).toBeGreaterThan(1)
    for (const { network } of [a, b]) network.inject()
    await goesOn(context, scene, { a: 21, b: 21 })
  })
})

describe.concurrent('a stranger answers every upgrade', () => {
  test.for<[string, Says]>([
    ['a portal’s page, 200', answers.portal],
    ['302 to a login page', answers.login],
    ['a page, 403', answers.page(403)],
    ['a page, 404', answers.page(404)],
    ['a page, 426', answers.page(426)],
    ['another service’s problem, 403', answers.problem(403)],
    ['101 and bytes that are no frame', answers.swapped('<html>Welcome')],
    ['nothing, and cuts the connection', () => 'drop request'],
  ])('with %s: the store follows by SSE, stays connected, and reports no problem', async ([, says], context) => {
    const scene = await begin(context, { says })
    const { a, b } = scene
    const before = on(a, 'websocket')
    const told = a.badge.told.length
    a.cut()
    b.note(1)
    a.note(1)
    await whole([a, b], 4)
    await eventually(
      'a follows by SSE',
      () => a.network.requests.some(({ query, sent }) => query.get('live') === 'sse' && sent > 0),
      () => [a.status(), a.network.requests.map(({ query, status }) => `${query} ${status}`)],
    )
    context.expect(on(a, 'websocket') - before).toBeLessThanOrEqual(3)
    for (let round = 1; round <= 3; round++) {
      b.note(1)
      await whole([a, b], 4 + round, 2_000)
    }
    // The cut itself may be a problem
    context.expect(a.badge.told.slice(told).filter((_) => _ !== undefined && _.kind !== 'unreachable')).toEqual([])
    context.expect(on(a, 'long-poll')).toBe(0)
    await goesOn(context, scene, { a: 2, b: 5 })
  })
})

describe.concurrent('a socket is accepted and stays silent', () => {
  /** Long enough for the greeting of the first socket on a busy machine. */
  const FIRST_BYTE_MS = 3_000
  const BOUND_MS = FIRST_BYTE_MS + 4_000

  test.for<[string, Says]>([
    ['without an answer to the upgrade', () => 'hold request'],
    ['without the greeting', () => ({ cutBody: 'silence', after: 0 })],
    ['within the greeting', () => ({ cutBody: 'silence', after: 50 })],
  ])('%s: one is tried, the store follows by SSE, and pushes meanwhile', async ([, says], context) => {
    const scene = await begin(context, { says, live: { firstByteTimeout: FIRST_BYTE_MS } })
    const { a, b } = scene
    const before = on(a, 'websocket')
    a.cut()
    a.note(1)
    b.note(1)
    await whole([a, b], 4, BOUND_MS)
    await eventually(
      'a follows by SSE',
      () => a.network.requests.some(({ query, sent }) => query.get('live') === 'sse' && sent > 0),
      () => a.status(),
      BOUND_MS,
    )
    context.expect(on(a, 'websocket') - before).toBe(1)
    b.note(1)
    await whole([a, b], 5, 2_000)
    await goesOn(context, scene, { a: 2, b: 3 })
    a.network.abandon()
  })
})

describe.concurrent('a socket dies without a word', () => {
  const STALL_MS = 3_000
  /** The reconnect, and LiveStore’s own backoff. */
  const BOUND_MS = STALL_MS + 3_000

  test('while nobody writes, then others’ events come by a new one within the stall timeout', async (context) => {
    const scene = await begin(context, { live: { stallTimeout: STALL_MS } })
    const { a, b } = scene
    await onSocket(a)
    const times: number[] = []
    for (let round = 1; round <= 2; round++) {
      const before = on(a, 'websocket')
      a.network.silenceSockets()
      b.note(1)
      times.push(await timed(() => whole([a, b], 2 + round, BOUND_MS)))
      await onSocket(a, before + 1)
      context.expect(on(a, 'websocket')).toBe(before + 1)
    }
    report('a dead socket replaced', times, BOUND_MS)
    context.expect(on(a, 'sse')).toBe(0)
    await goesOn(context, scene, { a: 1, b: 3 })
  })

  test('and the device writes: its event stays pending, and arrives once within the bound', async (context) => {
    const scene = await begin(context, { live: { stallTimeout: STALL_MS } })
    const { a, b } = scene
    await onSocket(a)
    a.network.silenceSockets()
    a.note(2)
    b.note(1)
    context.expect(a.pending()).toBe(2)
    await whole([a, b], 5, BOUND_MS)
    await goesOn(context, scene, { a: 3, b: 2 })
  })

  test('after the server took a push, whose answer is lost: the event is in the log once', async (context) => {
    const scene = await begin(context, { live: { stallTimeout: STALL_MS } })
    const { a, b } = scene
    a.cut()
    const greeting = await onSocket(a, 2)
    const { met } = a.network.next({ live: 'websocket' }, { cutBody: 'silence', after: greeting + 10 })
    a.cut()
    await onSocket(a, 3)
    a.note(3)
    await met
    await whole([a, b], 5, BOUND_MS)
    await goesOn(context, scene, { a: 4, b: 1 })
  })

  test('and the network stays away: the store shows that it is not connected', async (context) => {
    const scene = await begin(context, { live: { stallTimeout: STALL_MS } })
    const { a, b } = scene
    await onSocket(a)
    a.network.silenceSockets()
    const visit = a.stranger.comes(() => 'drop request')
    b.note(1)
    await troubled(a, 'unreachable', BOUND_MS)
    context.expect(a.count()).toBe(2)
    visit.leave()
    await goesOn(context, scene, { a: 1, b: 2 })
  })
})

describe.concurrent('a direct writer appends', () => {
  const append = async (storeId: string, parent: number) => parts.atUpstream(storeId).append(notesFrom(parent, 1))

  test('for the first time: a store on a socket has the event after its next renewal', async (context) => {
    const scene = await begin(context, { live: { renewInterval: 1_000 } })
    await append(scene.storeId, 2)
    await whole([scene.a, scene.b], 3, 5_000)
  })

  test('again, after a renewal has brought its first event: a store on a socket has it within 1 s', async (context) => {
    const scene = await begin(context, { live: { renewInterval: 1_000 } })
    await append(scene.storeId, 2)
    await whole([scene.a], 3, 5_000)
    await append(scene.storeId, 3)
    await whole([scene.b], 4, 1_000)
  })
})
