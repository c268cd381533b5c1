// The stranger: its answers, its choice of requests, and its leaving.
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import {
  answerOf,
  answers,
  type CountingProxy,
  makeStranger,
  type Server,
  type Stranger,
  startCountingProxy,
  startRustUpstream,
} from './index.ts'

let upstream: Server
let proxy: CountingProxy
let other: CountingProxy
let stranger: Stranger
let stream: string
let streams = 0

beforeAll(async () => {
  upstream = await startRustUpstream()
  proxy = await startCountingProxy(upstream.url)
  other = await startCountingProxy(upstream.url)
})
afterAll(async () => {
  await proxy?.stop()
  await other?.stop()
  await upstream?.stop()
})
beforeEach(async () => {
  stranger = makeStranger(proxy)
  stream = `${proxy.url}/tenant/store-${++streams}`
  await fetch(stream, { method: 'PUT', headers: { 'content-type': 'application/json' } })
  await append('a')
  proxy.clear()
  other.clear()
})

const headers = { 'content-type': 'application/json' }
const append = (message: string) => fetch(stream, { method: 'POST', headers, body: JSON.stringify([message]) })
const read = (query = '') => fetch(`${stream}?offset=-1${query}`)
const logged = async () => (await fetch(`${upstream.url}/tenant/store-${streams}?offset=-1`)).json()

test('a stranger with `times` answers that often, and records the requests', async () => {
  const visit = stranger.comes(answers.portal, { times: 2 })
  for (const path of ['', '/elsewhere']) {
    const page = await fetch(`${stream}${path}`)
    expect([page.status, page.headers.get('content-type')]).toEqual([200, 'text/html; charset=utf-8'])
    expect(await page.text()).toContain('Welcome')
  }
  await visit.over
  expect(await (await read()).json()).toEqual(['a'])
  expect(visit.answered.map(({ path, status }) => [path, status])).toEqual([
    [`/v1/stream/tenant/store-${streams}`, 200],
    [`/v1/stream/tenant/store-${streams}/elsewhere`, 200],
  ])
  expect(await visit.met).toBe(visit.answered[0])
  expect(proxy.requests).toHaveLength(3)
})

test('a stranger with `ms` answers for that time', async () => {
  const visit = stranger.comes(answers.page(404), { ms: 100 })
  expect((await read()).status).toBe(404)
  await visit.over
  expect((await read()).status).toBe(200)
})

test('a stranger with a filter answers only matching requests, and the first of several visits goes first', async () => {
  stranger.comes(answers.page(405), { method: 'POST' })
  stranger.comes(answers.page(410), { live: 'long-poll' })
  stranger.comes(answers.challenge(403), { live: 'any' })
  expect((await append('b')).status).toBe(405)
  expect((await read('&live=long-poll')).status).toBe(410)
  const challenge = await read('&live=sse')
  expect([challenge.status, challenge.headers.get('cf-mitigated')]).toEqual([403, 'challenge'])
  expect(await (await read()).json()).toEqual(['a'])
  expect(await logged()).toEqual(['a'])
})

test('a redirect to another origin: a POST stays a POST by 307 and 308, and becomes a GET by 301 and 302', async () => {
  for (const status of [301, 302, 307, 308]) {
    stranger.comes(answers.redirect(status, other.url), { times: 1 })
    const response = await append(String(status))
    expect([response.redirected, response.status < 300]).toEqual([true, true])
  }
  expect(other.requests.map(({ method }) => method)).toEqual(['GET', 'GET', 'POST', 'POST'])
  expect(await logged()).toEqual(['a', '307', '308'])
  stranger.comes(answers.redirect(301, other.url), { times: 1 })
  await read('&of=this')
  expect(other.requests.at(-1)?.query.toString()).toBe('offset=-1&of=this')
})

test('the answer `login` leads to a login page with status 200', async () => {
  const visit = stranger.comes(answers.login, { times: 1 })
  const page = await append('b')
  expect([page.redirected, page.status]).toEqual([true, 200])
  expect(await page.text()).toContain('log in')
  expect(visit.answered).toHaveLength(1)
  expect(await logged()).toEqual(['a'])
})

test('the answers of other services have their types and bodies', async () => {
  const said = async (says: Parameters<Stranger['comes']>[0]) => {
    stranger.comes(says, { times: 1 })
    const response = await read()
    return [response.status, response.headers.get('content-type'), await response.text()]
  }
  expect(await said(answers.json(null))).toEqual([200, 'application/json', 'null'])
  expect(await said(answers.json({ error: 'x' }, 502))).toEqual([502, 'application/json', '{"error":"x"}'])
  expect(await said(answers.problem(403))).toEqual([
    403,
    'application/problem+json',
    expect.not.stringContaining('urn:headwater'),
  ])
  expect(await said(answers.events)).toEqual([200, 'text/event-stream', expect.stringContaining('event: data')])
  expect(await said(answers.empty)).toEqual([200, null, ''])
  expect(await said(answers.noContent)).toEqual([204, null, ''])
})

test('the answer `swapped` keeps the server’s headers and swaps its body, also of a stream of events', async () => {
  const offset = (await read()).headers.get('stream-next-offset')
  for (const live of ['', '&live=sse']) {
    stranger.comes(answers.swapped('["z"]'), { times: 1 })
    const response = await read(live)
    expect(await response.text()).toBe('["z"]')
    if (live === '') expect(response.headers.get('stream-next-offset')).toBe(offset)
  }
})

test('the answer `of` repeats the answer to another request', async () => {
  const answer = await answerOf(`${stream}?offset=-1`)
  await append('b')
  stranger.comes(answers.of(answer), { times: 1 })
  expect(await (await read()).json()).toEqual(['a'])
  expect(await (await read()).json()).toEqual(['a', 'b'])
})
