// The readers of examples/readers/ follow a store across a reset.
import { join } from 'node:path'
import { afterAll, test } from 'vitest'
import { type Child, startChild } from '../../scripts/lib/child.mjs'
import { node, root, toolEnv } from '../../scripts/lib/tools.mjs'
import { numbers } from '../support/events.ts'
import { chain, Store } from '../support/store.ts'
import { logs, useParts } from './parts.ts'

const readers = [
  { language: 'Python', command: 'python3', file: 'reader.py' },
  { language: 'TypeScript', command: node, file: 'reader.ts' },
]
/** Small segments, so that the history has several pages. */
const SIZE = { SEGMENT_BYTES: '2000', SEGMENT_EVENTS: '20' }
const RESET = '--- the store was reset, and its new log begins'

const children: Child[] = []
afterAll(async () => {
  await Promise.all(children.splice(0).map((child) => child.stop()))
})

const run = (reader: (typeof readers)[number], store: Store): unknown[] => {
  const printed: unknown[] = []
  const onLine = (line: string) => void printed.push(line.startsWith('{') ? JSON.parse(line).seqNum : line)
  const args = [join(root, 'examples/readers', reader.file), store.url]
  const command = { name: reader.language, command: reader.command, args, env: toolEnv(), cwd: root }
  children.push(startChild(command, { onLine }))
  return printed
}

const onEachLog = logs.flatMap(({ name, start }) => {
  const parts = useParts(start, SIZE)
  return readers.map((reader) => ({ ...reader, name, parts }))
})

// A server may forget the readers of a stream that was deleted. The Worker ends their connections after 70 s.
test.concurrent.for(onEachLog)(
  'the $language reader prints each event once and in order, across a reset, on $name',
  { timeout: 150_000 },
  async ({ parts, ...reader }, { expect }) => {
    const store = new Store(parts)
    for (let head = 0; head < 60; head += 10) await store.pushed(chain(head, 10))
    const printed = run(reader, store)
    const expectPrinted = (expected: unknown[]) => expect.poll(() => printed, { timeout: 100_000 }).toEqual(expected)
    await expectPrinted(numbers(1, 60))
    await store.pushed(chain(60, 2))
    await expectPrinted(numbers(1, 62))

    expect((await store.request('DELETE')).status).toBe(204)
    // More events than before, so that every offset of the old log lies inside of the new one
    for (let head = 0; head < 80; head += 10) await store.pushed(chain(head, 10))
    const whole = [...numbers(1, 62), RESET, ...numbers(1, 80)]
    await expectPrinted(whole)
    await store.pushed(chain(80, 1))
    await expectPrinted([...whole, 81])
  },
)
