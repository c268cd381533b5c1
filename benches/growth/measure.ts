// Helpers of the measurements.
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Running, type StartOptions, start } from '../systems/start.ts'

export interface Figure {
  readonly what: string
  readonly value: number
  readonly unit: string
  /** The target, if there is one: `value` must not be greater. */
  readonly target?: number
}

/** Runs `work` with a newly started Headwater. */
export async function withHeadwater<T>(
  work: (running: Running, folder: string) => Promise<T>,
  options?: StartOptions,
): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'headwater-growth-'))
  try {
    const running = await start('headwater', folder, options)
    try {
      return await work(running, folder)
    } finally {
      await running.stop()
    }
  } finally {
    await rm(folder, { recursive: true, force: true, maxRetries: 5 })
  }
}

/** The processor time that a process has used, in milliseconds (Linux only). */
export async function cpuMs(pid: number | undefined): Promise<number> {
  const fields = (await readFile(`/proc/${pid}/stat`, 'utf8')).split(') ')[1]?.split(' ') ?? []
  const ticksPerSecond = 100
  return ((Number(fields[11]) + Number(fields[12])) * 1_000) / ticksPerSecond
}

export async function residentMiB(pid: number | undefined): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024
}
