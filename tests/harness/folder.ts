import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** A new folder for a test's data. `parent` is for tests that need what lies above the folder. */
export const makeFolder = async (name: string, parent = tmpdir()): Promise<string> => {
  await mkdir(parent, { recursive: true })
  return mkdtemp(join(parent, `headwater-${name}-`))
}

export const removeFolder = (path: string): Promise<void> => rm(path, { recursive: true, force: true, maxRetries: 5 })
