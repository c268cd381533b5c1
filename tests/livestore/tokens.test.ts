// The Worker refuses a token for a while. The store waits, reports the problem, and goes on by itself once the token is good.
import { afterAll, beforeAll, describe, test } from 'vitest'
import { bearer, hs256, JWT, now } from '../support/tokens.ts'
import { startWorld, type World } from '../support/world.ts'
import { makeScene, shown, toldOnce, whole } from './scene.ts'
import { notesOf } from './support.ts'

let world: World
beforeAll(async () => {
  world = await startWorld({ vars: JWT })
})
afterAll(() => world?.stop())

const tokenFor = (claims: Record<string, unknown> = {}) =>
  hs256({ tenant: 'default', stores: '*', scope: 'read write', ...claims })

const good = tokenFor()

describe.concurrent('for 2.5 s', () => {
  test.for<[string, string, number, boolean]>([
    ['a token has expired', tokenFor({ exp: now() - 600 }), 401, false],
    ['a token is not signed by the issuer', `${good.slice(0, -6)}AAAAAA`, 401, false],
    ['a token is for another tenant', tokenFor({ tenant: 'other' }), 403, false],
    ['a token does not allow writing', tokenFor({ scope: 'read' }), 403, true],
  ])(
    '%s: no event is lost, the user sees one problem, and all goes on by itself',
    async ([, refused, status, mayRead], context) => {
      const { expect } = context
      const scene = makeScene(world)
      context.onTestFinished(scene.close)
      let mine = good
      const [a, b] = await Promise.all([
        scene.open('a', { sync: { headers: () => bearer(mine) } }),
        scene.open('b', { sync: { headers: () => bearer(good) } }),
      ])
      a.note(1)
      b.note(1)
      await whole([a, b], 2)

      mine = refused
      const timer = new Promise((resolve) => setTimeout(resolve, 2_500))
      a.cut()
      a.note(2)
      b.note(1)
      await shown(a, 'refused')
      expect(a.badge.shows()).toMatchObject({ status, retryAfterMs: expect.any(Number) })
      await timer
      expect([a.pending(), a.badge.shows()?.kind]).toEqual([2, 'refused'])
      // A client that may read goes on reading
      if (!mayRead) expect(a.isConnected()).toBe(false)
      const before = a.network.requests.length

      mine = good
      await whole([a, b], 5)
      a.note(1)
      await whole([a, b], 6)
      // The provider asks slowly while the Worker refuses the token
      expect(before).toBeLessThan(60)
      expect(toldOnce(a)).toEqual(['refused', undefined])
      const { events, notesOf: logged } = await scene.log()
      expect([events, logged('a'), logged('b')]).toEqual([6, notesOf('a', 4), notesOf('b', 2)])
    },
  )
})
