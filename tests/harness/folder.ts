import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** Makes a folder for a test's data. `parent` is for a test that needs the packages or the files above the folder. */
export const makeFolder = async (name: string, parent = tmpdir()): Promise<string> => {
  await mkdir(parent, { recursive: true })
  return mkdtemp(join(parent, `headwater-${name}-`))
}

export const removeFolder = (path: string): Promise<void> => rm(path, { recursive: true, force: true, maxRetries: 5 })
