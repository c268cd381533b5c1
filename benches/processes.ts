// What the operating system says about a server's process. It reads /proc, which only Linux has.
import { readdir, readFile, readlink } from 'node:fs/promises'

/** The processor time that a process has used, in milliseconds. */
export async function cpuMs(pid: number | undefined): Promise<number> {
  const fields = (await readFile(`/proc/${pid}/stat`, 'utf8')).split(') ')[1]?.split(' ') ?? []
  const ticksPerSecond = 100
  return ((Number(fields[11]) + Number(fields[12])) * 1_000) / ticksPerSecond
}

export async function residentMiB(pid: number | undefined): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024
}

/** The number of sockets that a process has open, those on which it listens included. */
export async function openSockets(pid: number | undefined): Promise<number> {
  const folder = `/proc/${pid}/fd`
  // A descriptor may be closed meanwhile
  const targets = await Promise.all((await readdir(folder)).map((fd) => readlink(`${folder}/${fd}`).catch(() => '')))
  return targets.filter((target) => target.startsWith('socket:')).length
}

/** How many descriptors a process may have open. Node raises its own limit to this one, and its children inherit it. */
export async function maxDescriptors(): Promise<number> {
  const limits = await readFile('/proc/self/limits', 'utf8')
  const limit = /^Max open files\s+(\S+)/m.exec(limits)?.[1]
  return limit === 'unlimited' ? Number.POSITIVE_INFINITY : Number(limit)
}
