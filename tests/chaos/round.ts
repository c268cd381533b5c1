// One round: fresh stores with writers and readers, and faults and crashes for a while. Then calm, until every client has every
// event. Then the judgment.
import { setTimeout as pause } from 'node:timers/promises'
import { type CountingProxy, noUpstream, type RecordedRequest } from '../harness/index.ts'
import { Random } from '../support/random.ts'
import { walk } from '../support/store.ts'
import { Device } from './device.ts'
import { clientPlan, type Plan, upstreamPlan } from './faults.ts'
import { type ChaosEvent, History } from './history.ts'
import { moveNowAndThen, moveTo } from './moves.ts'
import { acquittal, isClean, judge, type Verdict } from './oracle.ts'
import { crashNowAndThen, type Parts } from './parts.ts'
import { Reader } from './reader.ts'
import { Stalls } from './stalls.ts'
import { Tally } from './tally.ts'
import { Writer } from './writer.ts'

const STORES = 3
const WRITERS = 6
const READERS = 4
/** Every third of them only reads. */
const DEVICES = 9

/** After the last fault, every client must have every event within this time. The Worker needs a few seconds. */
const DRAIN_MS = 60_000

const TENANT = 'chaos'

export interface RoundOptions {
  seed: number
  seconds: number
  kills: boolean
  /** Whether logs move between the upstream and the Durable Objects. The upstream then keeps its data. */
  moves?: boolean
}

export interface Round {
  seed: number
  tally: Tally
  verdict: Verdict
  /** The clients and proxies that were not done in time. */
  stuck: string[]
  /** Answers that no client should receive. */
  anomalies: string[]
  /** For a round with faults: the state of every client and part. */
  dump: string
}

export const isGood = ({ verdict, stuck, anomalies }: Pick<Round, 'verdict' | 'stuck' | 'anomalies'>) =>
  isClean(verdict) && stuck.length + anomalies.length === 0

interface Store {
  name: string
  history: History
  stalls: Stalls
  writers: Writer[]
  readers: Reader[]
  devices: Device[]
}

/**
 * The seed repeats the draws: the faults of a store's requests in their order, the crashes, and each writer's actions. It does
 * not repeat how these meet, because several processes run on a real clock. The same seed makes the same kind of trouble, not
 * the same history.
 */
export async function runRound(parts: Parts, { seed, seconds, kills, moves = false }: RoundOptions): Promise<Round> {
  const random = new Random(seed)
  const tally = new Tally()
  const giveUp = new AbortController()
  for (const road of [parts.proxy, parts.front, parts.aside.upstream, parts.aside.worker]) road.clear()
  const lateAppends = beginFaults(parts, random, tally)
  const stores = makeStores(parts, random, tally, giveUp.signal)
  const clients = stores.flatMap(({ writers, readers, devices }) => [...writers, ...readers, ...devices])
  const running = new Map(clients.map((client) => [client, client.run()]))
  for (const run of running.values()) run.catch(() => {}) // a client that gives up counts as stuck below

  try {
    await trouble(parts, random, tally, stores, { seconds, kills, moves })
    endFaults(parts)
    const away = moves ? await bringBack(parts, stores) : []
    const stuck = [...away, ...(await drain(parts, stores, running))]
    const verdict = await judgeAll(parts, stores, tally)
    const anomalies = stores.flatMap(({ history }) => history.anomalies)
    const good = isGood({ verdict, stuck, anomalies })
    const dump = good
      ? ''
      : [...clients.map((client) => client.state()), ...partsState(parts), ...aboutBatches(parts, verdict)].join('\n')
    countLate(tally, lateAppends)
    tally.sockets = parts.front.requests.filter(
      ({ query, sent }) => query.get('live') === 'websocket' && sent > 0,
    ).length
    return { seed, tally, verdict, stuck, anomalies, dump }
  } finally {
    endFaults(parts)
    giveUp.abort()
    await Promise.allSettled(running.values())
  }
}

/** Returns the appends that a proxy holds past the Worker's timeout. Their outcomes are known later. */
function beginFaults({ proxy, front, aside }: Parts, random: Random, tally: Tally): RecordedRequest[] {
  const lateAppends: RecordedRequest[] = []
  const inject = (road: CountingProxy, { decide, kindOf }: Plan) =>
    road.inject(decide, (_, request) => {
      const kind = kindOf(request)
      tally.troubles[kind] += 1
      if (kind === 'request late' && request.method === 'POST') lateAppends.push(request)
    })
  inject(proxy, upstreamPlan(random, aside.upstream))
  inject(front, clientPlan(random, aside.worker))
  return lateAppends
}

function endFaults({ proxy, front }: Parts): void {
  proxy.inject()
  front.inject()
}

function countLate(tally: Tally, lateAppends: RecordedRequest[]): void {
  for (const { status } of lateAppends) {
    tally.late[status === undefined ? 'cut by a crash' : status === 409 ? 'fenced' : 'applied'] += 1
  }
}

function makeStores({ front, mostPadding }: Parts, random: Random, tally: Tally, giveUp: AbortSignal): Store[] {
  const stores = Array.from({ length: STORES }, (_, index): Store => {
    const name = `seed-${random.seed}-${index}`
    return {
      name,
      history: new History(),
      stalls: new Stalls(tally.stalls.store),
      writers: [],
      readers: [],
      devices: [],
    }
  })
  const common = ({ name }: Store, client: string) => ({
    name: client,
    url: `${front.url}/v1/stream/${TENANT}/${name}`,
    random: random.fork(client),
    tally,
    mostPadding,
  })
  for (const [index, store] of dealt(stores, WRITERS)) {
    const { history, stalls: storeStalls } = store
    store.writers.push(new Writer({ ...common(store, `w${index}`), history, storeStalls, giveUp }))
  }
  for (const [index, store] of dealt(stores, READERS)) {
    store.readers.push(new Reader({ ...common(store, `r${index}`), stop: giveUp }))
  }
  for (const [index, store] of dealt(stores, DEVICES)) {
    const { name: storeId, history, stalls: storeStalls } = store
    const { name, random: own } = common(store, `d${index}`)
    const writes = index < (DEVICES * 2) / 3
    const options = { name, workerUrl: front.url, tenant: TENANT, storeId, writes, random: own, mostPadding }
    store.devices.push(new Device({ ...options, history, tally, storeStalls, giveUp }))
  }
  return stores
}

const dealt = (stores: Store[], count: number) =>
  Array.from({ length: count }, (_, index): [number, Store] => [index, stores[index % stores.length]!])

/** Resolves when the crashes are over and all parts run. */
async function trouble(
  parts: Parts,
  random: Random,
  tally: Tally,
  stores: readonly Store[],
  { seconds, kills, moves }: { seconds: number; kills: boolean; moves: boolean },
): Promise<void> {
  const over = new AbortController()
  const begun = () =>
    !moves &&
    !parts.replicas &&
    stores.every(({ history }) => [...history.attempts.values()].some(({ outcome }) => outcome === 'acknowledged'))
  const moving = moves ? moveNowAndThen(parts, random.fork('moves'), tally, stores.map(pathOf), over.signal) : undefined
  const crashes = kills ? crashNowAndThen(parts, random.fork('crashes'), tally, begun, over.signal) : undefined
  await Promise.race([pause(seconds * 1_000), crashes ?? new Promise(() => {})])
  over.abort()
  await Promise.all([crashes, moving])
}

const pathOf = ({ name }: Store) => `${TENANT}/${name}`

/** Moves every log to the upstream, where the judge reads it. Returns those that did not get there. */
async function bringBack(parts: Parts, stores: readonly Store[]): Promise<string[]> {
  const over = AbortSignal.timeout(DRAIN_MS)
  const done = await Promise.all(stores.map((store) => moveTo(parts, pathOf(store), 'upstream', over)))
  return stores.filter((_, index) => !done[index]).map(({ name }) => `the log of ${name} did not move to the upstream`)
}

/**
 * Waits until every event is in the log, no proxy holds a request, and every view is whole. Returns the states of those that were
 * not done.
 */
async function drain(
  parts: Parts,
  stores: Store[],
  running: Map<Writer | Reader | Device, Promise<void>>,
): Promise<string[]> {
  const inTime = deadline(DRAIN_MS)
  const writers = stores.flatMap((store) => [...store.writers, ...store.devices])
  for (const writer of writers) writer.finish()
  const stuck = await Promise.all([
    ...writers.map((writer) => inTime(running.get(writer), () => writer.state())),
    inTime(parts.proxy.settled(), () => 'the proxy before the upstream still holds requests'),
    inTime(parts.front.settled(), () => 'the proxy before the Worker still holds requests'),
  ])
  // Only now is the log final: every view must come to show it
  for (const { name, writers, readers, devices } of stores) {
    const { length } = await readLog(parts, name)
    const views = [
      ...readers.map((reader) =>
        inTime(reader.view.reaches(length), () => `${reader.state()}; the log has ${length} events`),
      ),
      ...[...writers, ...devices].map((writer) =>
        inTime(writer.catchUp(length), () => `${writer.state()}; the log has ${length} events`),
      ),
    ]
    stuck.push(...(await Promise.all(views)))
  }
  return stuck.filter((state) => state !== undefined)
}

/** One deadline for all work. The returned function resolves to `undefined` if its work is done in time, else to the state. */
function deadline(ms: number) {
  const late = Symbol('late')
  const timer = pause(ms, late, { ref: false })
  return async (work: Promise<void> | undefined, state: () => string): Promise<string | undefined> => {
    const failed = (error: unknown) => `${error}`
    const outcome = await Promise.race([work?.then(() => undefined, failed), timer])
    if (outcome === undefined) return undefined
    return outcome === late ? state() : `${state()}: ${String(outcome)}`
  }
}

async function judgeAll(parts: Parts, stores: Store[], tally: Tally): Promise<Verdict> {
  const all = acquittal()
  for (const { name, history, writers, readers, devices } of stores) {
    const log = await readLog(parts, name)
    const views = [...writers, ...readers, ...devices].map(({ view }) => view)
    const verdict = judge({ log, made: history.made, attempts: history.attempts, views })
    for (const key of Object.keys(all) as (keyof Verdict)[])
      all[key].push(...verdict[key].map((wrong) => `${name}: ${wrong}`))

    const inLog = new Set(log.map(({ args }) => args.attempt))
    for (const [attempt, { outcome }] of history.attempts) {
      tally[outcome] += 1
      if (outcome === 'maybe' && inLog.has(attempt)) tally.landed += 1
    }
  }
  return all
}

/** The store's events at the upstream, past the Worker and the proxy. Only the Worker reaches a built-in log. */
async function readLog({ upstream, worker }: Parts, store: string): Promise<ChaosEvent[]> {
  const url = upstream === noUpstream ? `${worker.url}/v1/stream` : upstream.url
  const read = (query: string) => fetch(`${url}/${TENANT}/${store}?whole=true&${query}`)
  return (await walk({ read })).flatMap(({ events }) => events as ChaosEvent[])
}

function partsState({ proxy, worker, upstream }: Parts): string[] {
  const requests = proxy.requests
    .slice(-30)
    .map(
      ({ method, path, query, headers, status }) =>
        `${method} ${path}?${query} ${headers['stream-seq'] ?? ''} ${status ?? 'no answer'}`,
    )
  return [
    '--- the last requests to the upstream',
    ...requests,
    '--- the Worker',
    worker.logs(),
    '--- the upstream',
    upstream.logs(),
  ]
}

/** The requests about the faulty batches, and the other requests to their log at that time. */
function aboutBatches({ front, aside, proxy }: Parts, verdict: Verdict): string[] {
  const batches = new Set(
    [...verdict.refused, ...verdict.lost, ...verdict.doubled].flatMap((wrong) => /@(\S+)/.exec(wrong)?.[1] ?? []),
  )
  const roads = Object.entries({
    'the Worker': front,
    'the Worker, aside': aside.worker,
    'the upstream': proxy,
    'the upstream, aside': aside.upstream,
  })
  const all = roads
    .flatMap(([who, { requests }]) => requests.map((request) => ({ who, request })))
    .sort((a, b) => a.request.at - b.request.at)
  return [...batches].slice(0, 3).flatMap((batch) => {
    const isAbout = (request: RecordedRequest) => request.body.includes(`@${batch}"`)
    const about = all.filter(({ request }) => isAbout(request)).map(({ request }) => request)
    const [from, to] = [(about[0]?.at ?? 0) - 500, (about.at(-1)?.at ?? 0) + 3_000]
    const lines = all
      .filter(({ request: { at, path } }) => at >= from && at <= to && path === about[0]?.path)
      .map(({ who, request }) => {
        const { at, method, query, headers, status } = request
        const what = `${method} ?${query} ${headers['stream-seq'] ?? ''} ${headers['producer-seq'] ?? ''} ${status ?? 'no answer'}`
        return `${Math.round(at - from)} ms, ${who}: ${what}${isAbout(request) ? ' <- it' : ''}`
      })
    return [`--- ${batch}`, ...lines]
  })
}
