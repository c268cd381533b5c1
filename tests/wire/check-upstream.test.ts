// `npm run check-upstream` tells a server that has what Headwater needs from one that has not.
import { execFile } from 'node:child_process'
import { createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { node, root, toolEnv } from '../../scripts/lib/tools.mjs'
import { startRustUpstream } from '../harness/index.ts'
import { upstreams } from './support.ts'

const check = (url: string): Promise<{ code: number; output: string }> =>
  new Promise((resolve) => {
    const script = join(root, 'scripts/check-upstream.mjs')
    execFile(node, [script, url], { env: toolEnv() }, (error, output) => resolve({ code: error === null ? 0 : Number(error.code), output }))
  })

test.each(upstreams)('$name has all of it', async ({ start }) => {
  const upstream = await start()
  try {
    const { code, output } = await check(upstream.url)
    expect(output).not.toMatch(/^NO /m)
    expect(output).toMatch(/has all that Headwater needs/)
    expect(code).toBe(0)
  } finally {
    await upstream.stop()
  }
})

test.each([
  ['stream-seq', 'The fence'],
  ['producer-seq', 'An idempotent producer'],
])('a server that knows nothing of %s lacks: %s', async (header, what) => {
  const upstream = await startRustUpstream()
  const forgetful = createServer((incoming, outgoing) => {
    const headers = Object.entries(incoming.headers).filter(([name]) => !name.startsWith(header.split('-')[0]!) || name === 'stream-next-offset')
    const passed = request(`${new URL(upstream.url).origin}${incoming.url}`, { method: incoming.method, headers: Object.fromEntries(headers) }, (answer) => {
      outgoing.writeHead(answer.statusCode ?? 502, answer.headers)
      answer.pipe(outgoing)
    })
    passed.on('error', () => outgoing.destroy())
    incoming.on('error', () => passed.destroy()).pipe(passed)
  })
  await new Promise<void>((resolve) => forgetful.listen(0, '127.0.0.1', resolve))
  try {
    const { code, output } = await check(`http://127.0.0.1:${(forgetful.address() as AddressInfo).port}/v1/stream`)
    expect(output).toMatch(new RegExp(`^NO {3}${what}`, 'm'))
    expect(output).toMatch(/Don't use it/)
    expect(code).toBe(1)
  } finally {
    forgetful.closeAllConnections()
    forgetful.close()
    await upstream.stop()
  }
})

test('where nobody answers it says so, and ends', async () => {
  const { code, output } = await check('http://127.0.0.1:9/v1/stream')
  expect(output).toMatch(/^NO {3}A stream that is not there is 404/m)
  expect(code).toBe(1)
})
