// The names and URLs that the options of a client may hold.
import type { UnknownError } from '@livestore/common'
import { Effect } from '@livestore/utils/effect'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { open, pullAll, run, seqNums } from '../support/backend.ts'
import { eventsFrom } from '../support/events.ts'
import { startWorld, type World } from '../support/world.ts'

let world: World
beforeAll(async () => {
  world = await startWorld()
})
afterAll(() => world?.stop())

describe('names and URLs', () => {
  test.each([
    ['a tenant ..', { tenant: '..' }, 'store'],
    ['an empty tenant', { tenant: '' }, 'store'],
    ['a store .', {}, '.'],
    ['an empty store', {}, ''],
    ['a lone surrogate', {}, '\ud800'],
    ['no URL', { url: 'nonsense' }, 'store'],
    ['not http', { url: 'ftp://x' }, 'store'],
  ])('%s is refused', (_, options, storeId) =>
    run(
      Effect.gen(function* () {
        const error = yield* Effect.flip(open({ url: 'http://127.0.0.1:1', ...options }, storeId))
        expect((error as UnknownError).note).toMatch(
          /cannot be part of a URL|not well-formed|is not a URL|must be http/,
        )
      }),
    ),
  )

  test.each(['a/b', '%2f', 'ünï', '🙂', "o'clock", 'a b?c#d', '...', 'x'.repeat(500)])(
    '%s is a store of its own',
    (name) =>
      run(
        Effect.gen(function* () {
          const backend = yield* open({ url: `${world.network.url}/`, tenant: name }, `${name}-${world.newStore()}`)
          yield* backend.push(eventsFrom(0, 2))
          expect(seqNums(yield* pullAll(backend))).toEqual([1, 2])
        }),
      ),
  )
})
