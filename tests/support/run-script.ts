// Runs a command of package.json without npm, whose output would be in the way.
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { node, root } from '../../scripts/lib/tools.mjs'

/** The standard output of `npm run NAME -- …`. Rejects with its errors if it fails. */
export const runScript = async (name: string, ...args: string[]): Promise<string> => {
  const options = { cwd: root, maxBuffer: 1 << 28 }
  return (await promisify(execFile)(node, [join(root, `scripts/${name}.mjs`), ...args], options)).stdout
}
