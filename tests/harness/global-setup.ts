// Before the first test file: the Worker is built. Every file starts its own servers on that build.
import { startChild } from '../../scripts/lib/child.mjs'
import { root, toolEnv } from '../../scripts/lib/tools.mjs'

export default async function setup(): Promise<void> {
  const build = startChild(
    { name: 'build', command: 'bash', args: ['scripts/build.sh'], env: toolEnv(), cwd: root },
    { onLine: (line) => console.log(line) },
  )
  const { ok, how } = await build.exited
  if (!ok) throw new Error(`building the Worker ${how}`)
}
