// npm run import -- URL FILE: creates a store from the JSON lines of an export.
import { randomUUID } from 'node:crypto'
import { open } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { headerBody } from '../client/src/protocol/index.js'
import { lastWanted, moveTo, openStore, runMain, STORE_HELP, unlessRefused } from './lib/store.mjs'

const HELP = `npm run import -- URL FILE [options]

${STORE_HELP}
  FILE           a file that npm run export wrote
  --until N      the seqNum of the last event to take (default: all events). Implies --new-id
  --new-id       gives the store a new backend id, so that every device starts over. Without it,
                 devices keep their events, and go on
  --help

The store must not exist yet: delete it for good first (docs/lifecycle.md). Until the last event is restored, the store does
not exist. If the deployment has an upstream, the command then moves the log there.`

/** The bytes of a part. */
const PART = 1 << 20

await runMain(main)

async function main() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      token: { type: 'string' },
      until: { type: 'string' },
      'new-id': { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) return console.log(HELP)
  const [url, name] = positionals
  if (name === undefined) throw new Error(`FILE is missing\n\n${HELP}`)
  const until = lastWanted(values.until)
  const isNew = values['new-id'] || values.until !== undefined
  const store = openStore(url, values.token)
  const file = await open(name)
  let copied = 0
  let head = 0
  let size = 0
  /** @type {string[]} */
  let part = []
  let backendId = ''
  const isRestored = async () => {
    const { headers } = await store.request('stream', '', { method: 'HEAD' })
    return headers.get('livestore-backend-id') === backendId && Number(headers.get('livestore-head')) === head
  }
  const send = async (end = false) => {
    const query = `after=${copied}${end ? '&end=true' : ''}`
    const answer = await store.order('restore', query, `[${part.join(',')}]`)
    // An earlier attempt may have arrived, whose answer did not
    const isRepeated = answer.body.copied === head || (end && answer.body.reason === 'exists' && (await isRestored()))
    copied = answer.status === 409 && isRepeated ? head : unlessRefused(answer).copied
    part = []
    size = 0
    console.log(`restored up to event ${copied}`)
  }
  for await (const line of linesOf(file.createReadStream())) {
    if (line === '') continue
    const { seqNum, livestore } = JSON.parse(line)
    if (part.length === 0 && head === 0 && livestore === undefined)
      throw new Error(
        `${name} does not begin with a log's header message. FILE must be a file that npm run export wrote`,
      )
    if (seqNum > until) break
    if (livestore !== undefined) {
      backendId = isNew ? randomUUID() : livestore.backendId
      part.push(headerBody(backendId).slice(1, -1))
    } else {
      part.push(line)
    }
    head = seqNum ?? head
    size += Buffer.byteLength(line)
    if (size >= PART) await send()
  }
  await send(true)
  const moved = await store.order('move', 'to=upstream')
  if (moved.body.reason === 'no-upstream') return console.log('done')
  unlessRefused(moved)
  await moveTo(store, 'upstream')
}

/**
 * The lines of a file. Node's readline also splits at characters that JSON may have inside of strings.
 * @param {AsyncIterable<Buffer>} chunks
 */
async function* linesOf(chunks) {
  let held = Buffer.alloc(0)
  for await (const chunk of chunks) {
    held = Buffer.concat([held, chunk])
    let start = 0
    for (let end = held.indexOf(10); end >= 0; end = held.indexOf(10, start)) {
      yield held.toString('utf8', start, end)
      start = end + 1
    }
    held = held.subarray(start)
  }
  if (held.length > 0) yield held.toString()
}
