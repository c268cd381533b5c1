// Somebody else answers on the way to the Worker for a while. The store believes nothing of it, loses no event, and tells the
// user meanwhile.

import { afterAll, beforeAll, describe, type TestContext, test } from 'vitest'
import type { CommonOptions } from '../../client/src/index.ts'
import { type Answer, answerOf, answers, type CountingProxy, type Says } from '../harness/index.ts'
import { eventsFrom } from '../support/events.ts'
import { eventually } from '../support/wait.ts'
import { type Parts, startParts } from './parts.ts'
import { goesOn, makeScene, met, toldOnce, troubled, whole } from './scene.ts'

let parts: Parts
/** Redirects lead here: to the right server by another host name. */
let moved: CountingProxy
/** A page of another store on the same Worker. */
let elsewhere: Answer

beforeAll(async () => {
  parts = await startParts()
  moved = await parts.newNetwork()
  const another = parts.atWorker('another')
  await another.pushed(eventsFrom(0, 1, { id: 'x-1', writer: 'x', slot: 1 }, 'x'))
  elsewhere = await answerOf(`${another.url}?offset=-1`)
})
afterAll(() => parts?.stop())

type Live = NonNullable<NonNullable<CommonOptions['live']>['mode']>

/** The way of a's pulls. sockets.test.ts has what strangers do to a socket alone. */
const ways: Live[] = ['websocket', 'sse']

/** Two devices that have synced a note of each. */
const begin = async ({ onTestFinished }: TestContext, mode: Live) => {
  const scene = makeScene(parts)
  onTestFinished(scene.close)
  const [a, b] = await Promise.all([scene.open('a', { sync: { live: { mode } } }), scene.open('b')])
  a.note(1)
  await whole([a, b], 1)
  b.note(1)
  await whole([a, b], 2)
  return { ...scene, a, b }
}

// An open socket carries the pushes
describe.concurrent('pushes by HTTP', () => {
  test('are answered with a captive portal’s page for 2 s: it is no acknowledgement', async (context) => {
    const { expect } = context
    const scene = await begin(context, 'sse')
    const { a } = scene
    const visit = a.stranger.comes(answers.portal, { method: 'POST', ms: 2_000 })
    a.note(3)
    await met(a, visit)
    await troubled(a, 'foreign-answer')
    expect([a.pending(), a.badge.shows()]).toEqual([
      3,
      expect.objectContaining({ status: 200, retryAfterMs: expect.any(Number) }),
    ])
    await visit.over
    expect(a.pending()).toBe(3)
    await goesOn(context, scene, { a: 4, b: 1 })
    expect(toldOnce(a)).toEqual(['foreign-answer', undefined])
  })

  test.for<[string, Says]>([
    ['a login page behind a redirect', answers.login],
    ['a firewall’s challenge, 503', answers.challenge(503)],
    ['a page, 403', answers.page(403)],
    ['a page, 404', answers.page(404)],
    ['a page, 409', answers.page(409)],
    ['a page, 413', answers.page(413)],
    ['a page, 500', answers.page(500)],
    ['204', answers.noContent],
    ['200 without a body', answers.empty],
    ['200 and other JSON', answers.json({ ok: true })],
    [
      '409 and JSON that only looks like ours',
      answers.json({ _tag: 'ServerAheadError', minimumExpectedNum: 9, providedNum: 3 }, 409),
    ],
    ['another service’s problem, 403', answers.problem(403)],
  ])('one is answered with %s: LiveStore repeats it', async ([, says], context) => {
    const scene = await begin(context, 'sse')
    const { a } = scene
    const visit = a.stranger.comes(says, { method: 'POST', times: 1 })
    a.note(2)
    await met(a, visit)
    await goesOn(context, scene, { a: 3, b: 1 })
    context.expect(toldOnce(a)).toEqual(['foreign-answer', undefined])
  })
})

describe.for(ways)('a device prefers %s:', (mode) => {
  describe.concurrent('everything', () => {
    test('is answered with a captive portal’s page for 2.5 s: the store is offline, and then goes on as before', async (context) => {
      const scene = await begin(context, mode)
      const { a, b } = scene
      const visit = a.stranger.comes(answers.portal, { ms: 2_500 })
      a.cut()
      a.note(2)
      b.note(2)
      await met(a, visit)
      await troubled(a, 'foreign-answer')
      await visit.over
      context.expect([a.count(), a.pending()]).toEqual([4, 2])
      await goesOn(context, scene, { a: 3, b: 3 })
      // On sockets a push may succeed first. Then the user is told of the read, too
      const told = mode === 'sse' ? toldOnce(a) : [...new Set(toldOnce(a))]
      context.expect(told).toEqual(['foreign-answer', undefined])
    })

    // After 301 and 302 a POST becomes a GET, which the right server answers 200
    test.for([301, 302])(
      'is answered %i to the right place for 2 s: a push is not acknowledged, and the user sees a problem',
      async (status, context) => {
        const scene = await begin(context, mode)
        const { a } = scene
        const visit = a.stranger.comes(answers.redirect(status, moved.url), { ms: 2_000 })
        a.cut()
        a.note(2)
        await met(a, visit)
        await troubled(a, 'foreign-answer')
        context.expect(a.pending()).toBe(2)
        await visit.over
        context.expect(a.pending()).toBe(2)
        await goesOn(context, scene, { a: 3, b: 1 })
      },
    )

    test.for([307, 308])(
      'is answered %i to the right place for 2 s: the push arrives there, or the user sees a problem',
      async (status, context) => {
        const scene = await begin(context, mode)
        const { a, b } = scene
        const visit = a.stranger.comes(answers.redirect(status, moved.url), { ms: 2_000 })
        a.cut()
        a.note(2)
        await met(a, visit)
        await eventually(
          'followed, or named',
          () => (a.pending() === 0 ? b.count() === 4 : a.pending() === 2 && a.badge.shows()?.kind === 'foreign-answer'),
          () => [a.status(), b.status(), a.badge.told],
          3_000,
        )
        await visit.over
        await goesOn(context, scene, { a: 3, b: 1 })
      },
    )
  })

  describe.concurrent('reads', () => {
    test.for<[string, Says]>([
      ['403', answers.page(403)],
      ['404', answers.page(404)],
      ['405', answers.page(405)],
      ['410', answers.page(410)],
      ['a firewall’s challenge, 403', answers.challenge(403)],
      ['302 to a login page', answers.login],
      ['another service’s problem, 404', answers.problem(404)],
    ])('one of a live pull is answered with a page, %s: the pull goes on', async ([, says], context) => {
      const scene = await begin(context, mode)
      const { a } = scene
      // The first read after a lost connection, and then a live read
      for (const live of [undefined, 'any'] as const) {
        const visit = a.stranger.comes(says, { method: 'GET', times: 1, ...(live === undefined ? {} : { live }) })
        a.cut()
        await met(a, visit)
      }
      await goesOn(context, scene, { a: 1, b: 1 })
    })

    test.for<[string, Says]>([
      ['{"error":"x"}', answers.json({ error: 'x' })],
      ['null', answers.json(null)],
      ['"ok"', answers.json('ok')],
      ['[null]', answers.json([null])],
      ['[{"message":"hi"}]', answers.json([{ message: 'hi' }])],
      ['[], without our headers', answers.json([])],
      ['nothing', answers.empty],
      ['204', answers.noContent],
      ['other server-sent events', answers.events],
      ['{"error":"x"} under our headers', answers.swapped('{"error":"x"}')],
      ['[{"message":"hi"}] under our headers', answers.swapped('[{"message":"hi"}]')],
    ])('are answered 200 with %s for 2.5 s: the store believes nothing of it', async ([, says], context) => {
      const scene = await begin(context, mode)
      const { a, b } = scene
      const visit = a.stranger.comes(says, { method: 'GET', ms: 2_500 })
      a.cut()
      b.note(1)
      await met(a, visit)
      await troubled(a, 'foreign-answer')
      await visit.over
      context.expect(a.count()).toBe(2)
      await goesOn(context, scene, { a: 1, b: 2 })
      context.expect(toldOnce(a)).toEqual(['foreign-answer', undefined])
    })

    test.for<[string, Says]>([
      ['{"error":"x"}', answers.json({ error: 'x' })],
      ['[null]', answers.json([null])],
      ['other server-sent events', answers.events],
      ['a page', answers.portal],
    ])(
      'by a live connection are answered 200 with %s for 2.5 s: the pull goes on afterwards',
      async ([, says], context) => {
        const scene = await begin(context, mode)
        const { a, b } = scene
        const visit = a.stranger.comes(says, { method: 'GET', live: 'any', ms: 2_500 })
        a.cut()
        b.note(1)
        await met(a, visit)
        await visit.over
        await goesOn(context, scene, { a: 1, b: 2 })
      },
    )

    test('are answered with another store’s log for 2.5 s: the store believes nothing of it', async (context) => {
      const scene = await begin(context, mode)
      const { a, b } = scene
      const visit = a.stranger.comes(answers.of(elsewhere), { method: 'GET', ms: 2_500 })
      a.cut()
      b.note(1)
      await met(a, visit)
      await visit.over
      context.expect(a.count()).toBe(2)
      await goesOn(context, scene, { a: 1, b: 2 })
    })
  })
})
