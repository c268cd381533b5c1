// npm run check-upstream -- URL: asks a Durable Streams server for exactly what Headwater relies on, and says in words which of
// its promises hold there. It makes one stream of its own, and deletes it.
import { randomUUID } from 'node:crypto'
import { request } from 'node:http'
import { request as secureRequest } from 'node:https'
import { parseArgs } from 'node:util'
import { fenceHeader, headerMessage, JSON_TYPE, NEXT_OFFSET, UP_TO_DATE } from '../client/src/protocol/index.js'

const HELP = `npm run check-upstream -- URL [options]

  URL                   as UPSTREAM_URL: the stream of a store is below it
  --token TEXT          the bearer token to send, if the server wants one
  --second-token TEXT   another writer's token for the same streams: tests that the fence holds between two writers

UPSTREAM_TOKEN and UPSTREAM_SECOND_TOKEN do the same as the options, and keep the tokens off the command line.
The exit code is 1 if something that Headwater needs is missing.`

const HEADER = headerMessage('check')
const PATIENCE_MS = 5_000

/** A check that can't be made with what the command was given. */
class NotTested extends Error {}

/**
 * What is asked: `needed` for safety or at all, or only useful. A check returns what it saw, or throws what is wrong, or
 * `NotTested`.
 */
/** @type {{ what: string, why: string, needed: boolean, check: () => Promise<string | void> }[]} */
const CHECKS = [
  {
    what: 'A stream that is not there is 404',
    why: 'a store that has none yet, or was deleted behind us, is noticed',
    needed: true,
    async check() {
      for (const [method, query] of /** @type {const} */ ([
        ['HEAD', ''],
        ['GET', '?offset=-1'],
        ['POST', ''],
      ])) {
        is((await send(method, query, method === 'POST' ? [event(1)] : undefined)).status, [404], method)
      }
    },
  },
  {
    what: 'A stream is created with its first message, once',
    why: "the log says itself whose it is, and whoever loses the race to create it reads the winner's",
    needed: true,
    async check() {
      is((await send('PUT', '', [HEADER])).status, [201], 'PUT')
      is((await send('PUT', '', [headerMessage('second')])).status, [200, 409], 'the second PUT')
      const took = await until('the first message', async () => {
        const { messages } = await read('-1')
        if (messages.length > 0 && JSON.stringify(messages) !== JSON.stringify([HEADER]))
          throw new Error(`it holds ${JSON.stringify(messages)}`)
        return messages.length === 1
      })
      return took > 20 ? `its message was shown ${took} ms after the stream; Headwater waits for that` : undefined
    },
  },
  {
    what: 'The fence: Stream-Seq has to grow',
    why: 'two batches on one parent never both land, whoever writes: no fork, no duplicate',
    needed: true,
    async check() {
      is((await append(0, [event(1)])).status, [200, 204], 'the first append')
      is((await append(0, [event(1)])).status, [409], 'an append with the same Stream-Seq')
      is((await append(1, [event(2)])).status, [200, 204], 'an append with a greater one')
      is((await append(0, [event(1)])).status, [409], 'an append with one that was passed')
      await holds([1, 2])
    },
  },
  {
    what: 'A batch lands whole, in order, or not at all',
    why: "one push is one append; a gap inside of it can't be",
    needed: true,
    async check() {
      is((await append(2, [event(3), event(4), event(5)])).status, [200, 204], 'an append of three')
      await holds([1, 2, 3, 4, 5])
      const broken = `[${JSON.stringify(event(6))},{"seqNum":`
      is((await send('POST', '', broken, fenceHeader(5))).status, [400, 422], 'an append that is no JSON')
      await cutOff(`[${JSON.stringify(event(6))},`)
      await holds([1, 2, 3, 4, 5])
    },
  },
  {
    what: 'An append tells where it ends, and offsets sort as the appends do',
    why: 'the index, sealed segments, and clients that go on from where they were',
    needed: true,
    async check() {
      const tips = [await tail()]
      for (const seq of [6, 7, 8]) {
        const { status, headers } = await append(seq - 1, [event(seq)])
        is(status, [200, 204], 'an append')
        tips.push(headers.get(NEXT_OFFSET) ?? fail('an append gave no Stream-Next-Offset'))
        if (tips.at(-1) !== (await tail())) fail('HEAD gives another tail than the append did')
      }
      for (const [i, tip] of tips.entries()) {
        if (i > 0 && !((tips[i - 1] ?? '') < tip)) fail(`${tip} does not sort after ${tips[i - 1]}`)
        const { messages } = await read(tip)
        const after = messages.map((message) => /** @type {{ seqNum: number }} */ (message).seqNum)
        if (after.join() !== [6, 7, 8].slice(i).join()) fail(`a read from ${tip} gave the events ${after.join()}`)
      }
    },
  },
  {
    what: 'An idempotent producer that skips a number is refused',
    why: 'a server that was restored to an older state is noticed at the next append, before anything is lost',
    needed: true,
    async check() {
      const producer = { 'producer-id': randomUUID(), 'producer-epoch': '0' }
      is(
        (await append(8, [event(9)], { ...producer, 'producer-seq': '0' })).status,
        [200, 204],
        'the first append of a producer',
      )
      const skipped = await append(9, [event(10)], { ...producer, 'producer-seq': '2' })
      is(skipped.status, [409], 'an append that skips one')
      if (!skipped.headers.has('producer-expected-seq')) fail('the refusal has no Producer-Expected-Seq')
    },
  },
  {
    what: 'A batch of 1 MiB is taken',
    why: 'MAX_BATCH_BYTES; set it lower if this fails',
    needed: false,
    async check() {
      const large = event(10, 'x'.repeat((1 << 20) - 300))
      is((await append(9, [large])).status, [200, 204], 'an append of 1 MiB')
    },
  },
  {
    what: 'Live reads: long-poll',
    why: 'clients behind what holds SSE back',
    needed: true,
    async check() {
      const waiting = send('GET', `?live=long-poll&offset=${await tail()}`)
      is((await append(10, [event(11)])).status, [200, 204], 'an append')
      const { status, body } = await waiting
      is(status, [200], 'the long-poll')
      if (!body.includes('"seqNum":11')) fail('the long-poll did not bring the event')
    },
  },
  {
    what: 'Live reads: server-sent events',
    why: 'live pulls',
    needed: true,
    async check() {
      const leaving = new AbortController()
      try {
        const response = await fetch(`${stream}?live=sse&offset=${await tail()}`, {
          headers: credentials,
          signal: leaving.signal,
        })
        is(response.status, [200], 'the SSE')
        is((await append(11, [event(12)])).status, [200, 204], 'an append')
        let text = ''
        const hearing = (async () => {
          const decoder = new TextDecoder()
          for await (const chunk of response.body ?? []) {
            text += decoder.decode(chunk, { stream: true })
            if (text.includes('"seqNum":12') && /streamNextOffset/.test(text)) return
          }
          fail('the SSE ended without the event')
        })()
        await within(hearing, 'the event, with its offset, by SSE')
      } finally {
        leaving.abort()
      }
    },
  },
  {
    what: 'An offset beyond the tail',
    why: 'what a client of a stream that was recreated asks for; Headwater compares the backend id, and does not rely on it',
    needed: false,
    async check() {
      const end = await tail()
      const beyond = end.replace(/\d(?=\D*$)/, '9').replace(/^\d/, '9')
      const { status, body } = await send('GET', `?offset=${beyond}`)
      is(status, [200, 400, 410], 'it')
      return `answered with ${status}${status === 200 ? ` ${body.slice(0, 20)}` : ''}`
    },
  },
  {
    what: 'A browser may read it (CORS)',
    why: 'hybrid and direct mode in a browser; through the Worker it does not matter',
    needed: false,
    async check() {
      const { headers } = await send('GET', '?offset=-1', undefined, { origin: 'https://app.example' })
      if (!headers.has('access-control-allow-origin')) fail('no Access-Control-Allow-Origin')
      if (!/\*|stream-next-offset/i.test(headers.get('access-control-expose-headers') ?? ''))
        fail('Stream-Next-Offset is not exposed')
    },
  },
  {
    what: 'A stream can be deleted and created again',
    why: 'a reset',
    needed: true,
    async check() {
      is((await send('DELETE')).status, [200, 204], 'DELETE')
      is((await send('GET', '?offset=-1')).status, [404, 410], 'a read after it')
      is((await send('PUT', '', [HEADER])).status, [201], 'PUT after it')
      is((await append(0, [event(1)])).status, [200, 204], 'an append to the new one')
      await holds([1])
    },
  },
  {
    what: 'Events keep their bytes',
    why: 'Headwater recognizes an append by its bytes; a server that spells numbers or escapes anew makes events of writers that spell them otherwise than JSON.stringify unrecognizable',
    needed: false,
    async check() {
      const spelled = JSON.stringify([event(2)]).replace('"check"', '{"number":1.0,"text":"\\u00e9"}')
      is((await send('POST', '', spelled, fenceHeader(1))).status, [200, 204], 'an append')
      const { body } = await send('GET', '?offset=-1')
      is((await send('DELETE')).status, [200, 204], 'DELETE')
      is((await send('PUT', '', [HEADER])).status, [201], 'PUT after it')
      is((await append(0, [event(1)])).status, [200, 204], 'an append to the new one')
      if (!body.includes(spelled.slice(1, -1))) fail('it spells the event anew')
    },
  },
  {
    what: "The fence is the stream's, whoever writes",
    why: 'the protocol (§5.2) also lets a server keep Stream-Seq for each writer: two writers with different credentials would then both land on one parent',
    needed: true,
    async check() {
      if (second === undefined)
        throw new NotTested('give UPSTREAM_TOKEN and UPSTREAM_SECOND_TOKEN, the tokens of two writers')
      is((await append(1, [event(2)])).status, [200, 204], 'an append of the first writer')
      const { status } = await append(1, [event(2, 'second')], second)
      if (status === 200 || status === 204)
        fail('two writers with different credentials were both acknowledged on one parent')
      is(status, [409], 'an append of the second writer on the same parent')
      is((await append(2, [event(3)], second)).status, [200, 204], 'an append of the second writer on the head')
      is((await append(2, [event(3, 'first')])).status, [409], 'an append of the first writer on the same parent')
      await holds([1, 2, 3])
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
  console.log('The second token is of use only beside another first one.')
  process.exit(2)
}
const stream = `${base.replace(/\/+$/, '')}/headwater-check/${randomUUID()}`
/** @type {Record<string, string>} */
const credentials = token ? { authorization: `Bearer ${token}` } : {}
/** The other writer's. */
const second = secondToken ? { authorization: `Bearer ${secondToken}` } : undefined

let missing = 0
let untested = ''
for (const { what, why, needed, check } of CHECKS) {
  try {
    const seen = await check()
    console.log(`yes  ${what}${seen ? `: ${seen}` : ''}\n       ${why}`)
  } catch (error) {
    if (error instanceof NotTested) {
      untested += ` Not tested: ${what}.`
      console.log(`?    ${what}: not tested; ${error.message}\n       ${why}`)
      continue
    }
    if (needed) missing += 1
    console.log(`${needed ? 'NO ' : 'no '}  ${what}: ${error instanceof Error ? error.message : error}\n       ${why}`)
  }
}
await send('DELETE').catch(() => {})
console.log(
  missing === 0
    ? `\n${base} has all that Headwater needs. Whether it still knows its fence after a crash, and keeps what it has acknowledged, no check can tell: see its documentation.${untested}`
    : `\n${base} lacks ${missing} of what Headwater needs: events could be lost, doubled or never arrive. Don't use it.`,
)
process.exitCode = missing === 0 ? 0 : 1

/**
 * @param {string} method
 * @param {string} [query]
 * @param {unknown} [body] text as it is, else as JSON
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

/** Page by page to the tail. @param {string} offset */
async function read(offset) {
  /** @type {unknown[]} */
  const messages = []
  for (let from = offset; ; ) {
    const { status, headers, body } = await send('GET', `?offset=${from}`)
    is(status, [200], 'a read')
    messages.push(...JSON.parse(body))
    if (headers.has(UP_TO_DATE)) return { messages }
    const next = headers.get(NEXT_OFFSET)
    if (next === null || next === from) fail('a read ends neither at the tail nor at another offset')
    from = next
  }
}

async function tail() {
  return (await send('HEAD')).headers.get(NEXT_OFFSET) ?? fail('HEAD gave no Stream-Next-Offset')
}

/** @param {number[]} seqNums */
async function holds(seqNums) {
  const { messages } = await read('-1')
  const found = messages.slice(1).map((message) => /** @type {{ seqNum: number }} */ (message).seqNum)
  if (found.join() !== seqNums.join()) fail(`the stream holds the events ${found.join()} and not ${seqNums.join()}`)
}

/** Begins an append, and leaves in the middle of its body. @param {string} start */
function cutOff(start) {
  return within(
    /** @type {Promise<void>} */ (
      new Promise((resolve) => {
        const headers = { ...credentials, ...JSON_TYPE, ...fenceHeader(5), 'content-length': start.length + 1_000 }
        const outgoing = (stream.startsWith('https:') ? secureRequest : request)(stream, { method: 'POST', headers })
        outgoing.on('error', () => resolve()).on('close', () => resolve())
        outgoing.write(start, () => outgoing.destroy())
      })
    ),
    'the end of a connection',
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
    if (Date.now() - began > PATIENCE_MS) fail(`${what} did not come within ${PATIENCE_MS / 1_000} s`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  return Date.now() - began
}

/** @template T @param {Promise<T>} promise @param {string} what @returns {Promise<T>} */
async function within(promise, what) {
  /** @type {NodeJS.Timeout | undefined} */
  let timer
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} did not come within ${PATIENCE_MS / 1_000} s`)), PATIENCE_MS)
  })
  try {
    return /** @type {T} */ (await Promise.race([promise, late]))
  } finally {
    clearTimeout(timer)
  }
}

/** @param {number} status @param {number[]} expected @param {string} what */
function is(status, expected, what) {
  if (!expected.includes(status)) fail(`${what} was answered ${status}, not ${expected.join(' or ')}`)
}

/** @param {string} why @returns {never} */
function fail(why) {
  throw new Error(why)
}
