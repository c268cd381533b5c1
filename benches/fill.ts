// Fills stores before a round begins.
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { chain } from './events.ts'
import { runClient } from './rounds.ts'
import type { Storage, SystemId } from './systems/model.ts'
import { start } from './systems/start.ts'

export async function fillStores(storage: Storage, folder: string, stores: Readonly<Record<string, number>>) {
  const system: SystemId = storage === 'streams' ? 'headwater' : storage === 'sync-cf' ? 'sync-cf-ws' : storage
  // sync-cf accepts a thousand events per second, so pushes would take minutes. One push creates each store, and the rest
  // goes into its tables
  const pushed = storage === 'sync-cf' ? Object.fromEntries(Object.keys(stores).map((store) => [store, 1])) : stores
  const running = await start(system, folder)
  try {
    await runClient({ fill: pushed, endpoint: running.endpoint, quick: false })
  } finally {
    await running.stop()
  }
  if (storage === 'sync-cf') await fillSyncCf(folder, stores)
}

async function fillSyncCf(folder: string, stores: Readonly<Record<string, number>>): Promise<void> {
  const files = await readdir(join(folder, 'objects'), { recursive: true })
  for (const file of files.filter((name) => name.endsWith('.sqlite'))) {
    const database = new DatabaseSync(join(folder, 'objects', file))
    try {
      const tables = database.prepare(`SELECT name FROM sqlite_master WHERE type = 'table'`).all() as Array<{
        name: string
      }>
      const log = tables.find(({ name }) => name.startsWith('eventlog_'))?.name
      const store = Object.keys(stores).find((id) => log?.endsWith(id.replaceAll(/[^a-zA-Z0-9]/g, '_')))
      if (log === undefined || store === undefined) continue
      const insert = database.prepare(
        `INSERT INTO "${log}" (seqNum, parentSeqNum, args, name, createdAt, clientId, sessionId) VALUES (?, ?, ?, ?, ?, ?, ?)`,
      )
      database.exec('BEGIN')
      for (const event of chain(1, (stores[store] ?? 1) - 1)) {
        const { seqNum, parentSeqNum, args, name, clientId, sessionId } = event
        insert.run(seqNum, parentSeqNum, JSON.stringify(args), name, new Date().toISOString(), clientId, sessionId)
      }
      database.exec('COMMIT')
      const context = tables.find(({ name }) => name.startsWith('context_'))?.name
      if (context !== undefined) database.prepare(`UPDATE "${context}" SET currentHead = ?`).run(stores[store] ?? 1)
    } finally {
      database.close()
    }
  }
}
