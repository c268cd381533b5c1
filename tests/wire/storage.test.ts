// A Sequencer's rows on disk. A build with another format must still read these.
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { root } from '../../scripts/lib/tools.mjs'
import { makeFolder, removeFolder, startCountingProxy, startRustUpstream, startWorker } from '../harness/index.ts'
import { chain, Store } from '../support/store.ts'
import type { Parts } from './parts.ts'

const parts = {} as Parts
let folder: string

beforeAll(async () => {
  folder = await makeFolder('storage')
  parts.upstream = await startRustUpstream()
  parts.worker = await startWorker({
    upstreamUrl: parts.upstream.url,
    persistTo: folder,
    vars: { SEGMENT_EVENTS: '5' },
  })
})
afterAll(async () => {
  await parts.worker?.stop()
  await parts.upstream?.stop()
  await removeFolder(folder)
})

const databases = async () =>
  (await readdir(folder, { recursive: true }))
    .filter((name) => name.endsWith('.sqlite'))
    .map((name) => join(folder, name))

/** The rows of this table, for each object that has one. */
const rowsOf = async (table: string) => {
  return (await databases()).flatMap((file) => {
    const database = new DatabaseSync(file, { readOnly: true })
    try {
      return [
        database
          .prepare(`SELECT * FROM ${table} ORDER BY 1`)
          .all()
          .map((row) => ({ ...row })),
      ]
    } catch {
      return []
    } finally {
      database.close()
    }
  })
}

test('a push adds one row, which is both the head and the index', async () => {
  const store = new Store(parts)
  const offsets = [(await store.request('PUT')).headers.get('stream-next-offset')]
  const bytes = [0]
  for (const [parent, count] of [
    [0, 2],
    [2, 3],
    [5, 1],
  ] as const) {
    const batch = JSON.stringify(chain(parent, count))
    bytes.push((bytes.at(-1) ?? 0) + batch.length)
    offsets.push((await store.pushed(batch)).headers.get('stream-next-offset'))
  }
  const id = (await store.request('HEAD')).headers.get('livestore-backend-id')
  await store.rowsWritten()
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

// A query that reads every row of a long history would be slow and expensive, because Cloudflare charges for rows read.
test('no query reads more rows than it returns', async () => {
  const store = new Store(parts)
  await store.pushed(chain(0, 1))
  await store.rowsWritten()
  await parts.worker.kill()
  const source = await readFile(join(root, 'src/sequencer/storage.rs'), 'utf8')
  const queries = [...source.matchAll(/const ([A-Z_]+): &str =\s*"(SELECT [^"]*FROM append[^"]*)";/g)]
  expect(queries.map(([, name]) => name)).toEqual(
    expect.arrayContaining(['FIRST_FROM', 'ENDS_AFTER', 'UP_TO_EVENT', 'LAST_ENDS']),
  )
  const name = (await readdir(folder, { recursive: true })).find((name) => /\/[0-9a-f]{64}\.sqlite$/.test(name)) ?? ''
  const database = new DatabaseSync(join(folder, name), { readOnly: true })
  for (const [, name, sql = ''] of queries) {
    const values = Array<number>(sql.split('?').length - 1).fill(1)
    const plan = database
      .prepare(`EXPLAIN QUERY PLAN ${sql}`)
      .all(...values)
      .map((row) => String(row['detail']))
    // The query walks along the table or the index of segments, without sorting, and stops at its limit. Only COUNT_ENDS has
    // no limit, and it runs once.
    expect([name, plan]).toEqual([name, [expect.stringMatching(/^(SEARCH|SCAN) append( USING|$)/)]])
    expect([name, sql]).toEqual([name, expect.stringMatching(name === 'COUNT_ENDS' ? /COUNT/ : /LIMIT/)])
    if (sql.includes('seals = 1')) expect([name, plan[0]]).toEqual([name, expect.stringContaining('INDEX segment')])
  }
  database.close()
  await parts.worker.restart()
})

/** Opens the database of the store with this backend. The Worker must be down. */
const onDisk = async (backendId: string | null, work: (database: DatabaseSync) => void) => {
  await parts.worker.kill()
  let found = 0
  for (const file of await databases()) {
    const database = new DatabaseSync(file)
    const rows = database.prepare(`SELECT name FROM sqlite_master WHERE name = 'backend'`).all()
    if (rows.length > 0 && database.prepare('SELECT 1 FROM backend WHERE backend_id = ?').all(backendId).length > 0) {
      found += 1
      work(database)
    }
    database.close()
  }
  expect(found).toBe(1)
  await parts.worker.restart()
}

// A rollback meets the rows of a newer build, and a deployment the rows of an older one.
test('a Worker works with the tables of an earlier and of a later build', async () => {
  const store = new Store(parts)
  await store.pushed(chain(0, 3))
  const id = (await store.pushed(chain(3, 2))).headers.get('livestore-backend-id')
  await store.rowsWritten()
  const columns = (database: DatabaseSync, table: string) =>
    database
      .prepare(`SELECT name FROM pragma_table_info('${table}')`)
      .all()
      .map(({ name }) => name)
  await onDisk(id, (database) => {
    // Builds before 0.2 insert without the names of columns. Therefore these tables keep their columns.
    expect(columns(database, 'append')).toEqual([
      'last_seq',
      'end_offset',
      'events_so_far',
      'bytes_so_far',
      'seals',
      'parent',
      'fingerprint',
    ])
    expect(columns(database, 'backend')).toEqual(['only', 'backend_id', 'index_start'])
    database.exec('DROP TABLE deleting')
  })
  await store.pushed(chain(5, 1))
  await onDisk(id, (database) =>
    database.exec(`
    ALTER TABLE append ADD COLUMN later TEXT DEFAULT 'x';
    ALTER TABLE backend ADD COLUMN later TEXT DEFAULT 'x';
    ALTER TABLE deleting ADD COLUMN later TEXT DEFAULT 'x';
    CREATE TABLE later (one INTEGER);`),
  )
  await store.pushed(chain(6, 1))
  expect(await store.eventsInLog()).toEqual(chain(0, 7))
  const reset = await store.request('DELETE')
  expect(reset.status).toBe(204)
  expect(reset.headers.get('livestore-backend-id')).not.toBe(id)
  await store.pushed(chain(0, 1))
})

test('a reset stores its intent before it deletes the stream, and completes after a crash between deletion and creation', async () => {
  const proxy = await startCountingProxy(parts.upstream.url)
  const worker = await startWorker({ upstreamUrl: proxy.url, persistTo: folder })
  try {
    const store = new Store({ worker, upstream: parts.upstream })
    const before = (await store.pushed(chain(0, 2))).headers.get('livestore-backend-id')
    const held = proxy.next({ method: 'PUT', path: store.name }, 'hold request')
    const reset = store.request('DELETE').catch(() => undefined)
    await held.met
    await worker.kill()
    proxy.abandon()
    await reset
    expect((await fetch(`${store.upstreamUrl}?offset=-1`)).status).toBe(404)
    expect(await rowsOf('deleting')).toContainEqual([{ only: 1, backend_id: before }])
    await worker.restart()
    const after = (await store.pushed(chain(0, 1))).headers.get('livestore-backend-id')
    expect(after).not.toBe(before)
    await worker.kill()
    expect((await rowsOf('deleting')).flat()).toEqual([])
  } finally {
    await worker.stop()
    await proxy.stop()
  }
})

// The runtime makes an empty file for each called object. Cloudflare keeps no object that has stored nothing.
test('reads of nonexistent stores store nothing', async () => {
  const tables = async () => {
    const found = await Promise.all(
      (await databases()).map(async (file) => {
        const database = new DatabaseSync(file, { readOnly: true })
        const names = database.prepare('SELECT name FROM sqlite_master').all()
        database.close()
        return names.length > 0 ? [file] : []
      }),
    )
    return found.flat().length
  }
  const before = await tables()
  for (let i = 0; i < 10; i++) {
    const store = new Store(parts)
    for (const query of ['offset=-1', 'offset=now', 'after=0']) expect((await store.read(query)).status).toBe(200)
    for (const method of ['HEAD', 'HEAD']) expect((await store.request(method)).status).toBe(200)
  }
  expect(await tables()).toBe(before)
  await new Store(parts).pushed(chain(0, 1))
  expect(await tables()).toBe(before + 1)
})
