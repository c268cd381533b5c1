// Helpers of the measurements.
import { mkdtemp, readdir, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Client, open } from '../client.ts'
import { until } from '../scenarios/scenario.ts'
import type { Endpoint, SystemId } from '../systems/model.ts'
import { type Running, type StartOptions, start } from '../systems/start.ts'

/** Opens a client that follows its store, as LiveStore's leader does. Its pushes go over the socket of the live pull. */
export async function followed(endpoint: Endpoint, storeId: string): Promise<Client> {
  const client = await open(endpoint, storeId)
  let began = false
  const pull = client.pull(
    () => {
      began = true
    },
    { live: true },
  )
  if (!(await until(() => began, 15_000))) throw new Error(`the live pull of ${storeId} brought nothing`)
  return {
    ...client,
    async close() {
      await pull.stop()
      await client.close()
    },
  }
}

export interface Figure {
  readonly what: string
  readonly value: number
  readonly unit: string
  /** The target, if there is one: `value` must not be greater. */
  readonly target?: number
}

/** Runs `work` with a newly started Headwater. Its log is at an upstream, unless `system` says otherwise. */
export async function withHeadwater<T>(
  work: (running: Running, folder: string) => Promise<T>,
  { system = 'headwater', ...options }: StartOptions & { readonly system?: SystemId } = {},
): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'headwater-growth-'))
  try {
    const running = await start(system, folder, options)
    try {
      return await work(running, folder)
    } finally {
      await running.stop()
    }
  } finally {
    await rm(folder, { recursive: true, force: true, maxRetries: 5 })
  }
}

/** The size of the files in a folder whose names end so. */
export async function bytesIn(folder: string, end = ''): Promise<number> {
  const names = await readdir(folder, { recursive: true })
  const sizes = await Promise.all(
    names
      .filter((name) => name.endsWith(end))
      .map(async (name) =>
        stat(join(folder, name)).then(
          (file) => (file.isFile() ? file.size : 0),
          () => 0,
        ),
      ),
  )
  return sizes.reduce((sum, size) => sum + size, 0)
}
