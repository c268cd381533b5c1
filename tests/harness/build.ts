import { runChild } from '../../scripts/lib/child.mjs'
import { root, toolEnv } from '../../scripts/lib/tools.mjs'

/** Builds the Worker, or its variant with a Cargo feature, unless the build is up to date. */
export async function build(variant?: string): Promise<void> {
  const args = ['scripts/build.sh', ...(variant === undefined ? [] : [variant])]
  await runChild(
    { name: 'the build of the Worker', command: 'bash', args, env: toolEnv(), cwd: root },
    { onLine: (line) => console.log(line) },
  )
}
