// What a Sequencer keeps, as it lies on disk: whoever changes this format must still read what is there.
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { root } from '../../scripts/lib/tools.mjs'
import { startRustUpstream, startWorker } from '../harness/index.ts'
import { chain, type Parts, Store } from './support.ts'

const parts = {} as Parts
let folder: string

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'headwater-storage-'))
  parts.upstream = await startRustUpstream()
  parts.worker = await startWorker({ upstreamUrl: parts.upstream.url, persistTo: folder, vars: { SEGMENT_EVENTS: '5' } })
})
afterAll(async () => {
  await parts.worker?.stop()
  await parts.upstream?.stop()
  await rm(folder, { recursive: true, force: true })
})

/** The databases of all objects that have a table of that name. */
const rowsOf = async (table: string) => {
  const files = (await readdir(folder, { recursive: true })).filter((name) => name.endsWith('.sqlite'))
  return files.flatMap((name) => {
    const database = new DatabaseSync(join(folder, name), { readOnly: true })
    try {
      return [database.prepare(`SELECT * FROM ${table} ORDER BY 1`).all().map((row) => ({ ...row }))]
    } catch {
      return []
    } finally {
      database.close()
    }
  })
}

test('one row a push, which is both the head and the index', async () => {
  const store = new Store(parts)
  const offsets = [(await store.request('PUT')).headers.get('stream-next-offset')]
  const bytes = [0]
  for (const [parent, count] of [[0, 2], [2, 3], [5, 1]] as const) {
    const batch = JSON.stringify(chain(parent, count))
    bytes.push((bytes.at(-1) ?? 0) + batch.length)
    offsets.push((await store.pushed(batch)).headers.get('stream-next-offset'))
  }
  const id = (await store.request('HEAD')).headers.get('livestore-backend-id')
  await parts.worker.kill()

  const fingerprint = expect.stringMatching(/^[0-9a-f]{32}$/)
  const row = (n: number, last_seq: number, seals: number, parent: number | null) => ({
    last_seq,
    end_offset: offsets[n],
    events_so_far: last_seq,
    bytes_so_far: bytes[n],
    seals,
    parent,
    fingerprint: parent === null ? null : fingerprint,
  })
  expect(await rowsOf('append')).toEqual([[row(0, 0, 0, null), row(1, 2, 0, 0), row(2, 5, 1, 2), row(3, 6, 0, 5)]])
  expect(await rowsOf('backend')).toEqual([[{ only: 1, backend_id: id, index_start: offsets[0] }]])
  await parts.worker.restart()
  await store.pushed(chain(6, 1))
})

// A query that reads every row of a store with a long history would be slow, and dear: rows read are charged.
test('no query reads more rows than it gives', async () => {
  await new Store(parts).pushed(chain(0, 1))
  await parts.worker.kill()
  const source = await readFile(join(root, 'src/sequencer/storage.rs'), 'utf8')
  const queries = [...source.matchAll(/const ([A-Z_]+): &str =\s*"(SELECT [^"]*FROM append[^"]*)";/g)]
  expect(queries.map(([, name]) => name)).toEqual(expect.arrayContaining(['FIRST_FROM', 'ENDS_AFTER', 'UP_TO_EVENT', 'LAST_ENDS']))
  const name = (await readdir(folder, { recursive: true })).find((name) => /\/[0-9a-f]{64}\.sqlite$/.test(name)) ?? ''
  const database = new DatabaseSync(join(folder, name), { readOnly: true })
  for (const [, name, sql = ''] of queries) {
    const values = Array<number>(sql.split('?').length - 1).fill(1)
    const plan = database.prepare(`EXPLAIN QUERY PLAN ${sql}`).all(...values).map((row) => String(row['detail']))
    // It walks along the table or the index of segments, without sorting, and stops at its limit. Only COUNT_ENDS has none,
    // and is asked once.
    expect([name, plan]).toEqual([name, [expect.stringMatching(/^(SEARCH|SCAN) append( USING|$)/)]])
    expect([name, sql]).toEqual([name, expect.stringMatching(name === 'COUNT_ENDS' ? /COUNT/ : /LIMIT/)])
    if (sql.includes('seals = 1')) expect([name, plan[0]]).toEqual([name, expect.stringContaining('INDEX segment')])
  }
  database.close()
  await parts.worker.restart()
})
