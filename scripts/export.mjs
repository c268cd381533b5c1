// npm run --silent export -- URL: writes a store's log to the standard output, as JSON lines.
import { once } from 'node:events'
import { parseArgs } from 'node:util'
import { elements } from './lib/json-array.mjs'
import { lastWanted, openStore, refusal, runMain, STORE_HELP } from './lib/store.mjs'

const HELP = `npm run --silent export -- URL [options] > my-store.jsonl

${STORE_HELP}
  --until N      the seqNum of the last event to write (default: all events)
  --help

Writes the log's header message, and then each event on a line of its own, exactly as it is in the log.`

await runMain(main)

async function main() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { token: { type: 'string' }, until: { type: 'string' }, help: { type: 'boolean', default: false } },
  })
  if (values.help) return console.log(HELP)
  const until = lastWanted(values.until)
  const store = openStore(positionals[0], values.token)
  let head = 0
  let backendId
  for (let offset = '-1'; ; ) {
    const page = await store.request('stream', `offset=${offset}`)
    if (page.status !== 200 || page.body === null) throw new Error(refusal(page.status, await page.text()))
    const id = page.headers.get('livestore-backend-id')
    if (id === null)
      throw new Error('the store has no log, or is halted (docs/troubleshooting.md). The export is not complete')
    if (backendId !== undefined && id !== backendId)
      throw new Error('the store was reset during the export. Run the command again')
    backendId = id
    for await (const message of elements(page.body)) {
      const { seqNum, parentSeqNum } = JSON.parse(message)
      if (seqNum > until) return report(head)
      if (seqNum !== undefined && parentSeqNum !== head)
        throw new Error(
          `the log is not a chain: event ${seqNum} has the parent ${parentSeqNum}, but follows event ${head}`,
        )
      head = seqNum ?? head
      if (!process.stdout.write(`${message.replaceAll(/[\r\n]/g, ' ')}\n`)) await once(process.stdout, 'drain')
    }
    if (page.headers.has('stream-up-to-date')) return report(head)
    offset = page.headers.get('stream-next-offset') ?? ''
  }
}

/** @param {number} head */
function report(head) {
  console.error(`exported up to event ${head}`)
}
