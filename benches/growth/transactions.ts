// Counts the transactions of a Sequencer, by its database's write-ahead log (https://www.sqlite.org/fileformat2.html#walformat).
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'

const WAL_HEADER_BYTES = 32
const FRAME_HEADER_BYTES = 24

export interface Wal {
  /** Changes when the log begins again, at a checkpoint. */
  readonly salts: string
  readonly transactions: number
}

/** Reads the log of the only object in the folder. */
export async function readWal(folder: string): Promise<Wal> {
  const files = await readdir(folder, { recursive: true })
  const logs = files.filter((name) => name.endsWith('.sqlite-wal') && !name.endsWith('metadata.sqlite-wal'))
  const [log] = logs
  if (log === undefined || logs.length > 1) throw new Error(`found ${logs.length} write-ahead logs instead of 1`)
  const bytes = await readFile(join(folder, log))
  const pageBytes = bytes.readUInt32BE(8)
  const salts = saltsAt(bytes, 16)
  let transactions = 0
  for (let at = WAL_HEADER_BYTES; at + FRAME_HEADER_BYTES < bytes.length; at += FRAME_HEADER_BYTES + pageBytes) {
    // A frame with other salts is of the time before the checkpoint
    if (saltsAt(bytes, at + 8) !== salts) break
    // The last frame of a transaction has the size of the database
    if (bytes.readUInt32BE(at + 4) !== 0) transactions += 1
  }
  return { salts, transactions }
}

const saltsAt = (bytes: Buffer, at: number): string => bytes.subarray(at, at + 8).toString('hex')
