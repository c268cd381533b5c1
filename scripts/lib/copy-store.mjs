// Copies a store from another LiveStore backend, for npm run move -- CONFIG.
import { createHash } from 'node:crypto'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { SyncBackend } from '@livestore/common'
import { Effect, FetchHttpClient, KeyValueStore, Layer, Option, Stream } from '@livestore/utils/effect'
import { firstBreak, headerBody, JSON_TYPE, storePath, urlPath } from '../../client/src/protocol/index.js'

/** LiveStore's own backends accept at most this many events per push. */
const BATCH_EVENTS = 100

/** @typedef {import('@livestore/common/schema').LiveStoreEvent.Global.Encoded} Event */

/**
 * @param {string} file the module with the two backends
 * @param {string} storeId
 */
export async function copyStore(file, storeId) {
  const config = await import(pathToFileURL(resolve(file)).href)
  for (const name of ['from', 'to']) {
    if (typeof config[name] !== 'function') throw new Error(`${file} exports no sync backend '${name}'`)
  }
  /** @type {(name: 'from' | 'to') => Promise<{ events: readonly Event[], backendId: string | undefined }>} */
  const read = (name) => inBackend(config[name], storeId, config[`${name}Payload`], (backend) => pullAll(name, backend))

  const source = await read('from')
  const { events } = source
  console.log(`from: ${summaryOf(events)}, backendId ${source.backendId ?? 'none'}`)
  checkChain(events)
  if (config.adopt !== undefined) await adopt(config.adopt, storeId, source.backendId)

  const target = await read('to')
  const there = target.events.length
  const other = target.events.findIndex((event, i) => canonical(event) !== canonical(events[i]))
  if (other >= 0) {
    throw new Error(
      `the target has other events: its event ${target.events[other]?.seqNum} differs from the source. Nothing was written. Choose an empty store`,
    )
  }
  if (config.adopt !== undefined) checkAdopted(source.backendId, target.backendId)
  if (there > 0) console.log(`to: already has ${there} of them`)
  if (there < events.length) {
    await inBackend(config.to, storeId, config.toPayload, async (backend, run) => {
      for (let at = there; at < events.length; at += BATCH_EVENTS) {
        const batch = events.slice(at, at + BATCH_EVENTS)
        await run(backend.push(batch)).catch((error) => {
          throw new Error(
            `the target refused the events ${batch[0]?.seqNum} to ${batch.at(-1)?.seqNum}: ${error}\nRun the command again: it continues from there`,
          )
        })
        console.log(`to: ${at + batch.length} of ${events.length}`)
      }
      return { events: [] }
    })
  }

  const [before, after] = [await read('from'), await read('to')]
  if (before.events.length !== events.length) {
    throw new Error(
      `the source changed during the copy: it now has ${summaryOf(before.events)}. Stop its writers, and run the command again: it continues from there`,
    )
  }
  if (digest(before.events) !== digest(after.events)) {
    throw new Error(`the two sides differ: from has ${summaryOf(before.events)}, to has ${summaryOf(after.events)}`)
  }
  console.log(
    `same on both sides: ${summaryOf(events)}, SHA-256 ${digest(events)}; backendId now ${after.backendId ?? 'none'}`,
  )
}

/**
 * Runs `work` with a backend's client, in its own scope.
 * @param {import('@livestore/common').SyncBackend.SyncBackendConstructor<any>} make
 * @param {string} storeId
 * @param {any} payload
 * @param {(backend: SyncBackend.SyncBackend<any>, run: <A>(effect: Effect.Effect<A, unknown>) => Promise<A>) => Promise<{ events: readonly Event[] }>} work
 */
function inBackend(make, storeId, payload, work) {
  return Effect.gen(function* () {
    const backend = yield* make({ storeId, clientId: 'mover', payload })
    yield* backend.connect
    const { events } = yield* Effect.tryPromise({
      try: () => work(backend, (effect) => Effect.runPromise(effect)),
      catch: (error) => error,
    })
    const backendId = (yield* SyncBackend.makeBackendIdHelper).get()
    return { events, backendId: Option.getOrUndefined(backendId) }
  }).pipe(
    Effect.scoped,
    Effect.provide(Layer.mergeAll(FetchHttpClient.layer, KeyValueStore.layerMemory)),
    Effect.runPromise,
  )
}

/** @type {(name: string, backend: SyncBackend.SyncBackend<any>) => Promise<{ events: readonly Event[] }>} */
async function pullAll(name, backend) {
  /** @type {Event[]} */
  const events = []
  await backend
    .pull(Option.none(), { live: false })
    .pipe(
      Stream.takeUntil(({ pageInfo }) => pageInfo._tag === 'NoMore'),
      Stream.runForEach(({ batch }) =>
        Effect.sync(() => {
          for (const { eventEncoded } of batch) events.push(eventEncoded)
        }),
      ),
      Effect.runPromise,
    )
    .catch((error) => {
      throw new Error(`'${name}' can't be read: ${error}`)
    })
  return { events }
}

/** @param {readonly Event[]} events */
function checkChain(events) {
  const at = firstBreak(events)
  if (at !== undefined)
    throw new Error(
      `the source's chain is broken at seqNum ${events[at]?.seqNum}: its parent is ${events[at]?.parentSeqNum}, but the event before it is ${events[at - 1]?.seqNum ?? 0}`,
    )
}

/**
 * Creates the store's stream with the header that the Worker would write (docs/http-api.md, "The header"), but with the old id.
 * If the Worker knew another stream for the store, it then adopts this one (docs/troubleshooting.md).
 * @param {{ url: string, tenant?: string, headers?: Record<string, string>, worker?: { url: string, headers?: Record<string, string> } }} upstream
 * @param {string} storeId
 * @param {string | undefined} backendId
 */
async function adopt({ url, tenant = 'default', headers, worker }, storeId, backendId) {
  if (backendId === undefined) throw new Error("the source has no backendId to keep. Remove 'adopt' from CONFIG")
  const answer = await fetch(`${url.replace(/\/+$/, '')}/${await storePath(tenant, storeId)}`, {
    method: 'PUT',
    headers: { ...headers, ...JSON_TYPE },
    body: headerBody(backendId),
  })
  // 200 or 409: the stream exists already. A read of the target shows its backend id
  if (!answer.ok && answer.status !== 409)
    throw new Error(`the upstream did not create the stream: ${answer.status} ${await answer.text()}`)
  if (worker === undefined) return
  const adopted = await fetch(`${worker.url.replace(/\/+$/, '')}/v1/adopt/${urlPath(tenant, storeId)}`, {
    method: 'POST',
    headers: worker.headers ?? {},
  })
  if (!adopted.ok) throw new Error(`the Worker did not adopt the stream: ${adopted.status} ${await adopted.text()}`)
}

/**
 * Checks the target's backend id before anything is written. With another id, devices would delete events that they have
 * not pushed.
 * @param {string | undefined} old
 * @param {string | undefined} found
 */
function checkAdopted(old, found) {
  if (found === undefined)
    throw new Error(
      "the target does not show the stream that 'adopt' created: the url or tenant of 'adopt' does not match 'to'. No event was written",
    )
  // The Worker's DELETE does not help here: it begins a new incarnation at once
  if (found !== old)
    throw new Error(
      `the target existed before, with backendId ${found}. No event was written. Delete its stream on the upstream itself, and run the command again with adopt.worker`,
    )
}

/** @param {readonly Event[]} events */
function summaryOf(events) {
  return `${events.length} events, head ${events.at(-1)?.seqNum ?? 0}`
}

/** @param {readonly Event[]} events */
function digest(events) {
  const hash = createHash('sha256')
  for (const event of events) hash.update(`${canonical(event)}\n`)
  return hash.digest('hex')
}

/** @param {Event | undefined} event */
function canonical(event) {
  if (event === undefined) return undefined
  const { name, args, seqNum, parentSeqNum, clientId, sessionId } = event
  return JSON.stringify([name, args, seqNum, parentSeqNum, clientId, sessionId], (_, value) =>
    value !== null && typeof value === 'object' && !Array.isArray(value)
      ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
      : value,
  )
}
