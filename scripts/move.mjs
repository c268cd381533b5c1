// npm run move -- URL --to PLACE: moves a store's log to its upstream, or into its Durable Object.
// npm run move -- CONFIG --store ID: copies a store's events from one LiveStore sync backend to another, through their own
// clients, and then compares the two. A second run continues where the target ends.
import { parseArgs } from 'node:util'
import { moveTo, openStore, runMain, STORE_HELP } from './lib/store.mjs'

const HELP = `npm run move -- URL --to PLACE

Moves a store's log to another place, while its clients keep working.

${STORE_HELP}
  --to PLACE     the new place: upstream or built-in (docs/built-in-log.md)

npm run move -- CONFIG --store ID

Copies a store from another LiveStore backend.

  CONFIG       a module that exports two sync backends, 'from' and 'to'. It may also export 'fromPayload' and
               'toPayload', and 'adopt': { url, tenant, headers } of Headwater's upstream. With 'adopt', the store keeps
               its old backendId. Add worker: { url, headers } to it if the Worker knew another stream for the store
  --store ID   the store
  --help

docs/migration.md has all steps of a migration.`

await runMain(main)
// End here, because a backend's client may leave a timer or a socket open
process.exit(0)

async function main() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      store: { type: 'string' },
      to: { type: 'string' },
      token: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) return console.log(HELP)
  if (values.to !== undefined) return moveTo(openStore(positionals[0], values.token), values.to)
  const [file] = positionals
  const storeId = values.store
  if (!file || !storeId) throw new Error(`${file ? '--store' : 'CONFIG'} is missing\n\n${HELP}`)
  // LiveStore's packages take 150 MB, which a move of a log does not need
  const { copyStore } = await import('./lib/copy-store.mjs')
  await copyStore(file, storeId)
}
