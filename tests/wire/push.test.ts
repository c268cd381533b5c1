import { describe, expect, test } from 'vitest'
import { startRustUpstream, startWorker } from '../harness/index.ts'
import { checkChain } from '../support/events.ts'
import { chain, event, json, type Problem, Store } from '../support/store.ts'
import { JWT } from '../support/tokens.ts'
import { logs, useParts } from './parts.ts'

describe.each(logs)('a push, on $name', ({ start, isBuiltIn }) => {
  const parts = useParts(start)
  const store = () => new Store(parts)

  test('is accepted in order, and its answer has head, offset and backend', async () => {
    const s = store()
    const first = await s.push(chain(0, 2))
    expect(first.status).toBe(200)
    expect(first.headers.get('livestore-head')).toBe('2')
    expect(first.headers.get('livestore-accepted')).toBe('1-2')
    const second = await s.push(chain(2, 1))
    expect(second.headers.get('livestore-head')).toBe('3')
    expect(second.headers.get('livestore-backend-id')).toBe(first.headers.get('livestore-backend-id'))
    expect(second.headers.get('stream-next-offset')! > first.headers.get('stream-next-offset')!).toBe(true)
    expect(await s.eventsInLog()).toEqual(chain(0, 3))
  })

  test.skipIf(isBuiltIn)('costs one upstream request on a warm Sequencer, and none if it is stale', async () => {
    const s = store()
    await s.pushed(chain(0, 3))
    parts.proxy.clear()

    await s.pushed(chain(3, 100))
    expect(parts.proxy.requests.map(({ method }) => method)).toEqual(['POST'])
    expect(parts.proxy.requests[0]!.headers['stream-seq']).toBe('0000000000000003')
    parts.proxy.clear()

    const stale = await s.push(chain(3, 1, 'another'))
    expect(stale.status).toBe(409)
    expect(stale.headers.get('content-type')).toBe('application/problem+json')
    expect(await stale.json()).toMatchObject({
      _tag: 'ServerAheadError',
      minimumExpectedNum: 104,
      providedNum: 4,
      status: 409,
    })
    expect(parts.proxy.requests).toEqual([])
  })

  test('of the same batch again is accepted again, and the log has the batch once', async () => {
    const s = store()
    await s.pushed(chain(0, 2))
    const again = await s.push(chain(0, 2))
    expect([again.status, again.headers.get('livestore-head')]).toEqual([200, '2'])
    expect(again.headers.get('livestore-accepted')).toBe('1-2')
    expect(await s.eventsInLog()).toEqual(chain(0, 2))
  })

  test('beyond the head is refused as a gap', async () => {
    const s = store()
    await s.pushed(chain(0, 2))
    const gap = await s.push(chain(5, 1))
    expect(gap.status).toBe(409)
    expect(await gap.json()).toMatchObject({ _tag: 'InvalidPushError', reason: 'gap', head: 2, parentSeqNum: 5 })
  })

  test('to another backend is refused', async () => {
    const s = store()
    const id = (await s.pushed(chain(0, 1))).headers.get('livestore-backend-id')
    const refused = await s.push(chain(1, 1), { 'livestore-backend-id': 'of-a-former-life' })
    expect(refused.status).toBe(409)
    expect(await refused.json()).toMatchObject({
      _tag: 'BackendIdMismatchError',
      expected: id,
      received: 'of-a-former-life',
    })
    expect((await s.push(chain(1, 1), { 'livestore-backend-id': id! })).status).toBe(200)
  })

  test('by each of 20 writers at once, on the head that it saw, makes one chain with all batches', async () => {
    const s = store()
    let refusals = 0
    const writer = async (name: number) => {
      let head = 0
      for (let written = 0; written < 5; ) {
        const response = await s.push([event(head + 1, { name, written })])
        const problem = response.status === 200 ? undefined : await json<Problem>(response)
        if (problem === undefined) {
          head += 1
          written += 1
        } else {
          expect(problem._tag).toBe('ServerAheadError')
          head = problem.minimumExpectedNum - 1
          refusals += 1
        }
      }
    }
    await Promise.all(Array.from({ length: 20 }, (_, name) => writer(name)))
    const events = await s.eventsInLog()
    checkChain(events)
    expect(new Set(events.map(({ args }) => JSON.stringify(args))).size).toBe(100)
    expect(refusals).toBeGreaterThan(0)
  })

  test('reaches the store of any name, and never another store', async () => {
    const names = [
      'plain',
      'a.b',
      'a-b',
      'a/b',
      'a%2fb',
      'a%2Fb',
      '~',
      '__ds',
      '...',
      ' ',
      'é',
      '\0',
      '😀',
      'x'.repeat(1000),
      'x'.repeat(1001),
      '😀'.repeat(1000),
    ]
    const stores = names.flatMap((name) => [
      new Store(parts, { name, tenant: 'names' }),
      new Store(parts, { name: 'names', tenant: name }),
    ])
    await Promise.all(stores.map((s) => s.pushed([event(1, { tenant: s.tenant, store: s.name })])))
    for (const s of stores) {
      expect((await s.events()).map(({ args }) => args)).toEqual([{ tenant: s.tenant, store: s.name }])
    }
  })
})

describe('the batch check', () => {
  const parts = useParts(undefined, { MAX_BATCH_EVENTS: '10', MAX_BATCH_BYTES: '5000' })
  const store = () => new Store(parts)

  test('names the event and the field', async () => {
    const s = store()
    await s.pushed(chain(0, 1))
    const { args: _, ...withoutArgs } = event(3)
    for (const [batch, index, field] of [
      [[event(2), withoutArgs], 1, 'args'],
      [[{ ...event(2), name: 7 }], 0, 'name'],
      [[{ ...event(2), clientId: '' }], 0, 'clientId'],
      [[{ ...event(2), sessionId: null }], 0, 'sessionId'],
      [[{ ...event(2), seqNum: 2.5 }], 0, 'seqNum'],
      [[{ ...event(2), parentSeqNum: 2 ** 53 }], 0, 'parentSeqNum'],
      [[event(2), event(4)], 1, 'parentSeqNum'],
    ] as const) {
      const refused = await s.push(batch)
      expect([refused.status, await refused.json()]).toMatchObject([422, { _tag: 'InvalidPushError', index, field }])
    }
    expect(await s.eventsInLog()).toEqual(chain(0, 1))
  })

  test('names the fault of a body that is no batch', async () => {
    const s = store()
    for (const [body, status, detail] of [
      ['', 400, 'not JSON'],
      ['[{', 400, 'not JSON'],
      ['{}', 422, 'must be a JSON array'],
      ['[]', 400, 'this one holds 0'],
      [JSON.stringify(chain(0, 11)), 422, 'this one holds 11'],
      [JSON.stringify(chain(0, 1, 'x'.repeat(5000))), 413, '5000 bytes'],
    ] as const) {
      const refused = await s.push(body)
      const problem = await json<Problem>(refused)
      expect([refused.status, problem.detail]).toEqual([status, expect.stringContaining(detail)])
    }
    expect((await s.push(chain(0, 1), { 'content-type': 'text/plain' })).status).toBe(409)
    expect((await s.push(chain(0, 1), { 'content-encoding': 'gzip' })).status).toBe(415)
    expect((await s.push(chain(0, 1), { 'content-type': 'Application/JSON; charset=utf-8' })).status).toBe(200)
  })

  test('cuts off a too long body without a length', async () => {
    let sent = 0
    const endless = new ReadableStream<Uint8Array>({
      pull(controller) {
        sent += 1000
        controller.enqueue(new Uint8Array(1000).fill(0x20))
        if (sent > 50_000_000) controller.error(new Error('nobody stopped this'))
      },
    })
    const init = {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: endless,
      duplex: 'half',
    } as RequestInit
    const response = await fetch(store().url, init).catch((error: unknown) => error)
    // The answer may arrive before the connection ends, or not.
    if (response instanceof Response) expect(response.status).toBe(413)
    expect(sent).toBeLessThan(50_000_000)
  })

  test('passes event bytes on unchanged, with unknown fields and odd spelling', async () => {
    const s = store()
    const events = [
      '{"name":"a","args":{"n":1.0,"big":12345678901234567890,"e":1E5,"s":"\\u00e9\\/\\ud83d"},"seqNum":1,"parentSeqNum":0,"clientId":"c","sessionId":"s"}',
      '{ "zzz" : {"kept": [ 1 , 2 ]}, "sessionId":"s","clientId":"c","parentSeqNum":1,"seqNum":2,"args":null,"name":"b\\n" }',
    ]
    expect((await s.push(` [ ${events.join(' ,\n')} ]`)).status).toBe(200)
    for (const url of [s.url, s.upstreamUrl]) {
      const text = await (await fetch(`${url}?offset=-1`)).text()
      for (const bytes of events) expect(text).toContain(bytes)
    }
  })
})

test('a refusal has its kind in a header, because an answer to HEAD has no body', async () => {
  const upstream = await startRustUpstream()
  const worker = await startWorker({
    upstreamUrl: upstream.url,
    vars: JWT,
  })
  try {
    const refused = await fetch(`${worker.url}/v1/stream/tenant/store`, { method: 'HEAD' })
    expect([refused.status, refused.headers.get('livestore-problem')]).toEqual([401, 'unauthorized; reason=missing'])
    expect(refused.headers.get('access-control-expose-headers')).toContain('livestore-problem')
  } finally {
    await worker.stop()
    await upstream.stop()
  }
})
