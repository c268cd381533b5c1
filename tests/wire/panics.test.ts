// The effect of a panic on waiting clients, in a build with failpoints (src/failpoints.rs).
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { root } from '../../scripts/lib/tools.mjs'
import { build, startRustUpstream } from '../harness/index.ts'
import { sse } from '../support/sse.ts'
import { chain, json, type Problem, Store } from '../support/store.ts'
import { useParts } from './parts.ts'

const VARIANT = 'failpoints'
const HEADER = 'headwater-failpoints'

/** The Worker answers 250 ms after a panic (src/entry.js). The rest is for a busy machine. */
const TOLD_MS = 5_000
const UPSTREAM_TIMEOUT_MS = 1_000
/** Three attempts, and 5 s (src/settings.rs, `sequencer_timeout`). */
const PATIENCE_MS = 3 * UPSTREAM_TIMEOUT_MS + 5_000

beforeAll(() => build(VARIANT), 600_000)
const parts = useParts(startRustUpstream, { UPSTREAM_TIMEOUT_MS: String(UPSTREAM_TIMEOUT_MS) }, VARIANT)

/** The answer must come in time, and tell the client to send the same again. */
const isTold = async (answer: Promise<Response>, withinMs: number): Promise<number> => {
  const start = performance.now()
  const response = await answer
  const ms = performance.now() - start
  expect([response.status, response.headers.get('retry-after')]).toEqual([503, '1'])
  expect(await json<Problem>(response)).toMatchObject({ _tag: 'UnavailableError' })
  expect(ms).toBeLessThan(withinMs)
  return ms
}

describe('a panic', () => {
  test.each([
    ['of the Worker, before it calls the Sequencer', 'edge-before-call'],
    ['of the Worker, after the Sequencer has answered', 'edge-after-call'],
    ['of the Sequencer, when a push arrives', 'arrival'],
    ['or rather a trap of the Sequencer', 'trap'],
    ['or rather an unexpected exception in the Sequencer', 'exception'],
    ['of the Sequencer, after an append has landed and before it is recorded', 'appended'],
  ])('%s, ends the requests under way with 503, and no others', async (_, place) => {
    const [store, other, idle] = [new Store(parts), new Store(parts), new Store(parts)]
    for (const each of [store, other, idle]) await each.pushed(chain(0, 2))
    const live = sse(await idle.read('offset=-1&live=sse'))
    const held = parts.proxy.next({ method: 'POST', path: other.name }, 'hold request')
    const underWay = isTold(other.push(chain(2, 1)), TOLD_MS)
    await held.met

    const told = [isTold(store.push(chain(2, 1), { [HEADER]: place }), TOLD_MS), underWay]
    const [ms = Number.NaN, msOfOther = Number.NaN] = await Promise.all(told)
    console.log(`${place}: told after ${Math.round(ms)} ms; in another store after ${Math.round(msOfOther)} ms`)

    // The Worker serves every store at once, and an open live read goes on
    await idle.pushed(chain(2, 1))
    let heard = ''
    while (!heard.includes('"seqNum":3')) heard += (await live.next()).value?.data ?? ''
    held.release()
    for (const each of [store, other]) {
      await each.pushed(chain(2, 1))
      await each.pushed(chain(3, 1))
      expect(await each.eventsInLog()).toEqual(chain(0, 4))
    }
  })
})

test('a push to a Sequencer that never answers fails when the attempts are over, and no later', async () => {
  const store = new Store(parts)
  await store.pushed(chain(0, 1))
  const ms = await isTold(store.push(chain(1, 1), { [HEADER]: 'silence' }), PATIENCE_MS + TOLD_MS)
  expect(ms).toBeGreaterThanOrEqual(PATIENCE_MS - 100)
  await store.pushed(chain(1, 1))
  expect(await store.eventsInLog()).toEqual(chain(0, 2))
})

test('the deployed build has no failpoints', async () => {
  const has = async (folder: string) => (await readFile(join(root, folder, 'index_bg.wasm'))).includes(HEADER)
  expect([await has(`build-${VARIANT}`), await has('build')]).toEqual([true, false])
})
