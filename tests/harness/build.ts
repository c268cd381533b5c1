import { startChild } from '../../scripts/lib/child.mjs'
import { root, toolEnv } from '../../scripts/lib/tools.mjs'

/** Builds the Worker, or its variant with a Cargo feature, if it is not up to date. */
export async function build(variant?: string): Promise<void> {
  const args = ['scripts/build.sh', ...(variant === undefined ? [] : [variant])]
  const child = startChild(
    { name: 'build', command: 'bash', args, env: toolEnv(), cwd: root },
    { onLine: (line) => console.log(line) },
  )
  const { ok, how } = await child.exited
  if (!ok) throw new Error(`building the Worker ${how}`)
}
