// Two processes of the app in docs/direct-mode.md sync through a log, without a Worker.
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { type Child, startChild } from '../../scripts/lib/child.mjs'
import { node, root, toolEnv } from '../../scripts/lib/tools.mjs'
import { makeFolder, removeFolder, type Server, startRustUpstream } from '../harness/index.ts'
import { read } from '../support/pages.ts'

let folder: string
let upstream: Server
const children: Child[] = []

beforeEach(async () => {
  upstream = await startRustUpstream()
  folder = await makeFolder('direct')
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'))
})
afterEach(async () => {
  await Promise.all(children.splice(0).map((child) => child.stop()))
  await upstream?.stop()
  await removeFolder(folder)
})

test("two processes of the app show each other's note, and the log has both", async () => {
  const app = read('docs/direct-mode.md').match(/```js\n(.*?)```/s)?.[1] ?? ''
  expect(app).toContain('http://127.0.0.1:4437/v1/stream')
  writeFileSync(join(folder, 'notes.mjs'), app.replace('http://127.0.0.1:4437/v1/stream', upstream.url))

  const said = (device: string, note: string) => {
    const cwd = join(folder, device) // LiveStore's adapter may write files there
    mkdirSync(cwd)
    const child = startChild({
      name: device,
      command: node,
      args: [join(folder, 'notes.mjs'), note],
      env: toolEnv(),
      cwd,
    })
    children.push(child)
    return child
  }
  const both = [said('one', 'hello'), said('two', 'hello, too')]
  for (const child of both) {
    await expect.poll(() => child.tail(), { timeout: 20_000 }).toMatch(/(?=.*'hello')(?=.*'hello, too')/)
  }
  const log = (await (await fetch(`${upstream.url}/default/notes`)).json()) as { args?: { text: string } }[]
  expect(log.flatMap(({ args }) => args?.text ?? []).sort()).toEqual(['hello', 'hello, too'])
})
