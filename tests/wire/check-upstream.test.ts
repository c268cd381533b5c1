// `npm run check-upstream` finds the features that a server lacks and Headwater needs.
import { execFile } from 'node:child_process'
import { createServer, type IncomingHttpHeaders, type IncomingMessage, request } from 'node:http'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { node, root, toolEnv } from '../../scripts/lib/tools.mjs'
import { listen, startRustUpstream } from '../harness/index.ts'
import { upstreams } from './parts.ts'

const check = (
  url: string,
  { args = [], env = {} }: { args?: string[]; env?: Record<string, string> } = {},
): Promise<{ code: number; output: string }> =>
  new Promise((resolve) => {
    const script = join(root, 'scripts/check-upstream.mjs')
    const done = (error: { code?: unknown } | null, output: string) =>
      resolve({ code: error === null ? 0 : Number(error.code), output })
    execFile(node, [script, url, ...args], { env: { ...toolEnv(), ...env } }, done)
  })

/** Passes each request on to `upstreamUrl` with the headers that `change` returns. Calls `succeeded` for each success. */
const startProxy = async (
  upstreamUrl: string,
  change: (incoming: IncomingMessage) => IncomingHttpHeaders,
  succeeded: (incoming: IncomingMessage) => void = () => {},
) => {
  const server = createServer((incoming, outgoing) => {
    const passed = request(
      `${new URL(upstreamUrl).origin}${incoming.url}`,
      { method: incoming.method, headers: change(incoming) },
      (answer) => {
        if ((answer.statusCode ?? 500) < 300) succeeded(incoming)
        outgoing.writeHead(answer.statusCode ?? 502, answer.headers)
        answer.pipe(outgoing)
      },
    )
    passed.on('error', () => outgoing.destroy())
    incoming.on('error', () => passed.destroy()).pipe(passed)
  })
  const { url, stop } = await listen(server)
  return { url: `${url}/v1/stream`, stop }
}

test.each(upstreams)('$name passes the check', async ({ start }) => {
  const upstream = await start()
  try {
    const { code, output } = await check(upstream.url)
    expect(output).not.toMatch(/^NO /m)
    expect(output).toMatch(/has everything that Headwater needs/)
    expect(code).toBe(0)
  } finally {
    await upstream.stop()
  }
})

test.each([
  ['stream-seq', 'The fence'],
  ['producer-seq', 'An idempotent producer'],
])('a server without %s fails the check: %s', async (header, what) => {
  const upstream = await startRustUpstream()
  const forgetful = await startProxy(upstream.url, ({ headers }) =>
    Object.fromEntries(
      Object.entries(headers).filter(
        ([name]) => !name.startsWith(header.split('-')[0]!) || name === 'stream-next-offset',
      ),
    ),
  )
  try {
    const { code, output } = await check(forgetful.url)
    expect(output).toMatch(new RegExp(`^NO {3}${what}`, 'm'))
    expect(output).toMatch(/Don't use it/)
    expect(code).toBe(1)
  } finally {
    await forgetful.stop()
    await upstream.stop()
  }
})

const SHARED_FENCE = 'All writers of a stream share its fence'
const tokens = { UPSTREAM_TOKEN: 'first', UPSTREAM_SECOND_TOKEN: 'second' }

test.each(upstreams)('$name keeps the fence between two credentials', async ({ start }) => {
  const upstream = await start()
  try {
    const { code, output } = await check(upstream.url, { env: tokens })
    expect(output).toContain(`yes  ${SHARED_FENCE}`)
    expect(output).not.toMatch(/not tested/i)
    expect(code).toBe(0)
  } finally {
    await upstream.stop()
  }
})

test('a server that keeps Stream-Seq for each credential fails the check with two credentials, and does not pass it with one', async () => {
  const upstream = await startRustUpstream()
  /** The last Stream-Seq of each credential on each stream. The real server receives none. */
  const taken = new Map<string, string>()
  const keyOf = ({ url, headers }: IncomingMessage) => `${url} ${headers.authorization}`
  const perWriter = await startProxy(
    upstream.url,
    (incoming) => {
      const { 'stream-seq': seq, ...headers } = incoming.headers
      const isPassed = typeof seq === 'string' && (taken.get(keyOf(incoming)) ?? '') >= seq
      // The server answers 409 to a body of another type than the stream's (PROTOCOL 5.2).
      return isPassed ? { ...headers, 'content-type': 'text/plain' } : headers
    },
    (incoming) => {
      const seq = incoming.headers['stream-seq']
      if (typeof seq === 'string') taken.set(keyOf(incoming), seq)
      if (incoming.method === 'DELETE') taken.clear()
    },
  )
  try {
    for (const given of [{ env: tokens }, { args: ['--token', 'first', '--second-token', 'second'] }]) {
      const found = await check(perWriter.url, given)
      expect(found.output.match(/^NO .*/gm)).toEqual([
        `NO   ${SHARED_FENCE}: two writers with different credentials were both acknowledged on one parent`,
      ])
      expect(found.output).toMatch(/lacks 1 of the features that Headwater needs/)
      expect(found.code).toBe(1)
    }
    for (const env of [{ UPSTREAM_TOKEN: 'first' }, {}]) {
      const { code, output } = await check(perWriter.url, { env })
      expect(output).toMatch(new RegExp(`^\\? {4}${SHARED_FENCE}: not tested`, 'm'))
      expect(output).toContain(`Not tested: ${SHARED_FENCE}.`)
      expect(code).toBe(0)
    }
    for (const env of [
      { UPSTREAM_SECOND_TOKEN: 'second' },
      { UPSTREAM_TOKEN: 'same', UPSTREAM_SECOND_TOKEN: 'same' },
    ]) {
      expect((await check(perWriter.url, { env })).code).toBe(2)
    }
  } finally {
    await perWriter.stop()
    await upstream.stop()
  }
})

test('without a server at the URL, the check says so and ends', async () => {
  const { code, output } = await check('http://127.0.0.1:9/v1/stream')
  expect(output).toMatch(/^NO {3}A missing stream is answered 404/m)
  expect(code).toBe(1)
})
