// npm run check-upstream -- URL: tests a Durable Streams server for everything that Headwater relies on, and reports what the
// server keeps. It creates one stream of its own, and deletes it.
import { randomUUID } from 'node:crypto'
import { request } from 'node:http'
import { request as secureRequest } from 'node:https'
import { parseArgs } from 'node:util'
import { fenceHeader, headerMessage, JSON_TYPE, NEXT_OFFSET, UP_TO_DATE } from '../client/src/protocol/index.js'

const HELP = `npm run check-upstream -- URL [options]

  URL                   the URL of the server, as in UPSTREAM_URL
  --token TEXT          the bearer token to send, if the server requires one
  --second-token TEXT   another writer's token for the same streams, to test the fence between two writers

The environment variables UPSTREAM_TOKEN and UPSTREAM_SECOND_TOKEN do the same, and keep the tokens off the command line.
The exit code is 1 if something that Headwater needs is missing.`

const HEADER = headerMessage('check')
const TIMEOUT_MS = 5_000

/** Thrown by a check that needs an option that was not given. */
class NotTested extends Error {}

/**
 * The checks. Headwater can't use a server that fails a `needed` one. `check` may return an observation. It throws an error
 * if it fails, and `NotTested` if it can't run.
 *
 * @type {{ title: string, reason: string, needed: boolean, check: () => Promise<string | void> }[]}
 */
const CHECKS = [
  {
    title: 'A missing stream is answered 404',
    reason: 'Headwater notices that a store has no stream yet, or that its stream was deleted',
    needed: true,
    async check() {
      for (const [method, query] of /** @type {const} */ ([
        ['HEAD', ''],
        ['GET', '?offset=-1'],
        ['POST', ''],
      ])) {
        expectStatus((await send(method, query, method === 'POST' ? [event(1)] : undefined)).status, [404], method)
      }
    },
  },
  {
    title: 'A stream is created once, together with its first message',
    reason: "the first message says whose log it is, and the loser of a race to create it reads the winner's",
    needed: true,
    async check() {
      expectStatus((await send('PUT', '', [HEADER])).status, [201], 'PUT')
      expectStatus((await send('PUT', '', [headerMessage('second')])).status, [200, 409], 'the second PUT')
      const took = await until('the first message', async () => {
        const { messages } = await read('-1')
        if (messages.length > 0 && JSON.stringify(messages) !== JSON.stringify([HEADER]))
          throw new Error(`the stream holds ${JSON.stringify(messages)}`)
        return messages.length === 1
      })
      return took > 20 ? `the message became readable ${took} ms after the stream; Headwater waits for it` : undefined
    },
  },
  {
    title: 'The fence: Stream-Seq must increase',
    reason: 'of two batches on one parent, only one lands, so there is no fork and no duplicate',
    needed: true,
    async check() {
      expectStatus((await append(0, [event(1)])).status, [200, 204], 'the first append')
      expectStatus((await append(0, [event(1)])).status, [409], 'an append with the same Stream-Seq')
      expectStatus((await append(1, [event(2)])).status, [200, 204], 'an append with a greater Stream-Seq')
      expectStatus((await append(0, [event(1)])).status, [409], 'an append with an older Stream-Seq')
      await expectEvents([1, 2])
    },
  },
  {
    title: 'A batch lands as a whole and in order, or not at all',
    reason: 'one push is one append, and must not leave a gap',
    needed: true,
    async check() {
      expectStatus((await append(2, [event(3), event(4), event(5)])).status, [200, 204], 'an append of three')
      await expectEvents([1, 2, 3, 4, 5])
      const broken = `[${JSON.stringify(event(6))},{"seqNum":`
      expectStatus((await send('POST', '', broken, fenceHeader(5))).status, [400, 422], 'an append that is not JSON')
      await cutOffAppend(`[${JSON.stringify(event(6))},`)
      await expectEvents([1, 2, 3, 4, 5])
    },
  },
  {
    title: 'An append returns the offset of its end, and offsets sort in the order of the appends',
    reason: 'the index, the sealed segments, and clients that resume a read need it',
    needed: true,
    async check() {
      const tips = [await tail()]
      for (const seq of [6, 7, 8]) {
        const { status, headers } = await append(seq - 1, [event(seq)])
        expectStatus(status, [200, 204], 'an append')
        tips.push(headers.get(NEXT_OFFSET) ?? fail('an append returned no Stream-Next-Offset'))
        if (tips.at(-1) !== (await tail())) fail('HEAD and the append returned different tails')
      }
      for (const [i, tip] of tips.entries()) {
        if (i > 0 && !((tips[i - 1] ?? '') < tip)) fail(`${tip} does not sort after ${tips[i - 1]}`)
        const { messages } = await read(tip)
        const after = messages.map((message) => /** @type {{ seqNum: number }} */ (message).seqNum)
        if (after.join() !== [6, 7, 8].slice(i).join()) fail(`a read from ${tip} returned the events ${after.join()}`)
      }
    },
  },
  {
    title: 'An idempotent producer that skips a sequence number is refused',
    reason: 'the next append notices that the server was restored to an older state, before anything is lost',
    needed: true,
    async check() {
      const producer = { 'producer-id': randomUUID(), 'producer-epoch': '0' }
      expectStatus(
        (await append(8, [event(9)], { ...producer, 'producer-seq': '0' })).status,
        [200, 204],
        'the first append of a producer',
      )
      const skipped = await append(9, [event(10)], { ...producer, 'producer-seq': '2' })
      expectStatus(skipped.status, [409], 'an append that skips a sequence number')
      if (!skipped.headers.has('producer-expected-seq')) fail('the refusal has no Producer-Expected-Seq')
    },
  },
  {
    title: 'A batch of 1 MiB is accepted',
    reason: 'this is the default of MAX_BATCH_BYTES; set it lower if this fails',
    needed: false,
    async check() {
      const large = event(10, 'x'.repeat((1 << 20) - 300))
      expectStatus((await append(9, [large])).status, [200, 204], 'an append of 1 MiB')
    },
  },
  {
    title: 'Live reads: long-poll',
    reason: 'clients use it if a proxy on their way holds SSE back',
    needed: true,
    async check() {
      const waiting = send('GET', `?live=long-poll&offset=${await tail()}`)
      expectStatus((await append(10, [event(11)])).status, [200, 204], 'an append')
      const { status, body } = await waiting
      expectStatus(status, [200], 'the long-poll')
      if (!body.includes('"seqNum":11')) fail('the long-poll did not return the event')
    },
  },
  {
    title: 'Live reads: server-sent events',
    reason: 'live pulls use them',
    needed: true,
    async check() {
      const leaving = new AbortController()
      try {
        const response = await fetch(`${stream}?live=sse&offset=${await tail()}`, {
          headers: credentials,
          signal: leaving.signal,
        })
        expectStatus(response.status, [200], 'the SSE read')
        expectStatus((await append(11, [event(12)])).status, [200, 204], 'an append')
        let text = ''
        const receiving = (async () => {
          const decoder = new TextDecoder()
          for await (const chunk of response.body ?? []) {
            text += decoder.decode(chunk, { stream: true })
            if (text.includes('"seqNum":12') && /streamNextOffset/.test(text)) return
          }
          fail('the SSE read ended without the event')
        })()
        await within(receiving, 'the event, with its offset, by SSE')
      } finally {
        leaving.abort()
      }
    },
  },
  {
    title: 'A read from an offset beyond the tail',
    reason:
      'a client asks for one if its stream was recreated; Headwater compares the backend id, and does not rely on the answer',
    needed: false,
    async check() {
      const end = await tail()
      const beyond = end.replace(/\d(?=\D*$)/, '9').replace(/^\d/, '9')
      const { status, body } = await send('GET', `?offset=${beyond}`)
      expectStatus(status, [200, 400, 410], 'the read')
      return `answered with ${status}${status === 200 ? ` ${body.slice(0, 20)}` : ''}`
    },
  },
  {
    title: 'A browser may read the stream (CORS)',
    reason: 'hybrid and direct mode in a browser need it; reads through the Worker do not',
    needed: false,
    async check() {
      const { headers } = await send('GET', '?offset=-1', undefined, { origin: 'https://app.example' })
      if (!headers.has('access-control-allow-origin')) fail('no Access-Control-Allow-Origin')
      if (!/\*|stream-next-offset/i.test(headers.get('access-control-expose-headers') ?? ''))
        fail('Stream-Next-Offset is not exposed')
    },
  },
  {
    title: 'A stream can be deleted and created again',
    reason: 'a reset needs it',
    needed: true,
    async check() {
      expectStatus((await send('DELETE')).status, [200, 204], 'DELETE')
      expectStatus((await send('GET', '?offset=-1')).status, [404, 410], 'a read after the DELETE')
      expectStatus((await send('PUT', '', [HEADER])).status, [201], 'a PUT after the DELETE')
      expectStatus((await append(0, [event(1)])).status, [200, 204], 'an append to the new stream')
      await expectEvents([1])
    },
  },
  {
    title: 'Events keep their bytes',
    reason:
      'Headwater recognizes an append by its bytes; if the server rewrites numbers or escapes, Headwater recognizes only events that are spelled as JSON.stringify does',
    needed: false,
    async check() {
      const spelled = JSON.stringify([event(2)]).replace('"check"', '{"number":1.0,"text":"\\u00e9"}')
      expectStatus((await send('POST', '', spelled, fenceHeader(1))).status, [200, 204], 'an append')
      const { body } = await send('GET', '?offset=-1')
      expectStatus((await send('DELETE')).status, [200, 204], 'DELETE')
      expectStatus((await send('PUT', '', [HEADER])).status, [201], 'a PUT after the DELETE')
      expectStatus((await append(0, [event(1)])).status, [200, 204], 'an append to the new stream')
      if (!body.includes(spelled.slice(1, -1))) fail('the server changed the bytes of an event')
    },
  },
  {
    title: 'All writers of a stream share its fence',
    reason:
      'the protocol (§5.2) also lets a server keep a Stream-Seq per writer; then two writers with different credentials could both land on one parent',
    needed: true,
    async check() {
      if (secondCredentials === undefined)
        throw new NotTested('set UPSTREAM_TOKEN and UPSTREAM_SECOND_TOKEN to the tokens of two writers')
      expectStatus((await append(1, [event(2)])).status, [200, 204], 'an append of the first writer')
      const { status } = await append(1, [event(2, 'second')], secondCredentials)
      if (status === 200 || status === 204)
        fail('two writers with different credentials were both acknowledged on one parent')
      expectStatus(status, [409], 'an append of the second writer on the same parent')
      expectStatus(
        (await append(2, [event(3)], secondCredentials)).status,
        [200, 204],
        'an append of the second writer on the head',
      )
      expectStatus(
        (await append(2, [event(3, 'first')])).status,
        [409],
        'an append of the first writer on the same parent',
      )
      await expectEvents([1, 2, 3])
    },
  },
]

const { positionals, values } = parseArgs({
  options: { help: { type: 'boolean' }, token: { type: 'string' }, 'second-token': { type: 'string' } },
  allowPositionals: true,
})
const [base] = positionals
const token = values.token || process.env['UPSTREAM_TOKEN']
const secondToken = values['second-token'] || process.env['UPSTREAM_SECOND_TOKEN']
if (values.help || base === undefined || !/^https?:\/\/./.test(base)) {
  console.log(HELP)
  process.exit(values.help ? 0 : 2)
}
if (secondToken && (!token || secondToken === token)) {
  console.log('--second-token requires --token, and the two tokens must differ.')
  process.exit(2)
}
const stream = `${base.replace(/\/+$/, '')}/headwater-check/${randomUUID()}`
/** @type {Record<string, string>} */
const credentials = token ? { authorization: `Bearer ${token}` } : {}
const secondCredentials = secondToken ? { authorization: `Bearer ${secondToken}` } : undefined

let missing = 0
let untested = ''
for (const { title, reason, needed, check } of CHECKS) {
  try {
    const seen = await check()
    console.log(`yes  ${title}${seen ? `: ${seen}` : ''}\n       ${reason}`)
  } catch (error) {
    if (error instanceof NotTested) {
      untested += ` Not tested: ${title}.`
      console.log(`?    ${title}: not tested; ${error.message}\n       ${reason}`)
      continue
    }
    if (needed) missing += 1
    console.log(
      `${needed ? 'NO ' : 'no '}  ${title}: ${error instanceof Error ? error.message : error}\n       ${reason}`,
    )
  }
}
await send('DELETE').catch(() => {})
console.log(
  missing === 0
    ? `\n${base} has everything that Headwater needs. No check can show whether the server keeps its fence and all acknowledged appends after a crash: see its documentation.${untested}`
    : `\n${base} lacks ${missing} of the features that Headwater needs. Events could be lost, duplicated or never arrive. Don't use it.`,
)
process.exitCode = missing === 0 ? 0 : 1

/**
 * @param {string} method
 * @param {string} [query]
 * @param {unknown} [body] a text is sent as it is, anything else as JSON
 * @param {Record<string, string>} [headers]
 */
async function send(method, query = '', body, headers = {}) {
  const init = body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }
  const type = body === undefined ? {} : { 'content-type': 'application/json' }
  const response = await within(
    fetch(`${stream}${query}`, {
      method,
      redirect: 'manual',
      headers: { ...credentials, ...type, ...headers },
      ...init,
    }),
    `an answer to ${method}`,
  )
  return {
    status: response.status,
    headers: response.headers,
    body: await within(response.text(), `the body of ${method}`),
  }
}

/**
 * @param {number} parent
 * @param {unknown[]} batch
 * @param {Record<string, string>} [headers]
 */
function append(parent, batch, headers = {}) {
  return send('POST', '', batch, { ...fenceHeader(parent), ...headers })
}

/** Reads page by page up to the tail. @param {string} offset */
async function read(offset) {
  /** @type {unknown[]} */
  const messages = []
  for (let from = offset; ; ) {
    const { status, headers, body } = await send('GET', `?offset=${from}`)
    expectStatus(status, [200], 'a read')
    messages.push(...JSON.parse(body))
    if (headers.has(UP_TO_DATE)) return { messages }
    const next = headers.get(NEXT_OFFSET)
    if (next === null || next === from) fail('a read returned neither the tail nor a new offset')
    from = next
  }
}

async function tail() {
  return (await send('HEAD')).headers.get(NEXT_OFFSET) ?? fail('HEAD returned no Stream-Next-Offset')
}

/** @param {number[]} seqNums */
async function expectEvents(seqNums) {
  const { messages } = await read('-1')
  const found = messages.slice(1).map((message) => /** @type {{ seqNum: number }} */ (message).seqNum)
  if (found.join() !== seqNums.join()) fail(`the stream holds the events ${found.join()}, not ${seqNums.join()}`)
}

/** Begins an append, and closes the connection in the middle of the body. @param {string} start */
function cutOffAppend(start) {
  return within(
    /** @type {Promise<void>} */ (
      new Promise((resolve) => {
        const headers = { ...credentials, ...JSON_TYPE, ...fenceHeader(5), 'content-length': start.length + 1_000 }
        const outgoing = (stream.startsWith('https:') ? secureRequest : request)(stream, { method: 'POST', headers })
        outgoing.on('error', () => resolve()).on('close', () => resolve())
        outgoing.write(start, () => outgoing.destroy())
      })
    ),
    'the end of the connection',
  )
}

/** @param {number} seqNum */
function event(seqNum, text = 'check') {
  return { name: 'checked', args: { text }, seqNum, parentSeqNum: seqNum - 1, clientId: 'check', sessionId: 'check' }
}

/** @param {string} what @param {() => Promise<boolean>} holds @returns milliseconds */
async function until(what, holds) {
  const began = Date.now()
  while (!(await holds())) {
    if (Date.now() - began > TIMEOUT_MS) fail(`${what} did not come within ${TIMEOUT_MS / 1_000} s`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  return Date.now() - began
}

/** @template T @param {Promise<T>} promise @param {string} what @returns {Promise<T>} */
async function within(promise, what) {
  /** @type {NodeJS.Timeout | undefined} */
  let timer
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} did not come within ${TIMEOUT_MS / 1_000} s`)), TIMEOUT_MS)
  })
  try {
    return /** @type {T} */ (await Promise.race([promise, late]))
  } finally {
    clearTimeout(timer)
  }
}

/** @param {number} status @param {number[]} expected @param {string} what */
function expectStatus(status, expected, what) {
  if (!expected.includes(status)) fail(`${what} was answered ${status}, not ${expected.join(' or ')}`)
}

/** @param {string} why @returns {never} */
function fail(why) {
  throw new Error(why)
}
