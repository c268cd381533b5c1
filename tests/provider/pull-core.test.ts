// The decisions of a pull, in random worlds in which others answer, connections break, and the log grows or is reset.
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { TransportError } from '../../client/src/http/errors.ts'
import type { Start } from '../../client/src/reading/cursor.ts'
import type { LiveMode } from '../../client/src/reading/live-mode.ts'
import {
  advance,
  commandOf,
  isFollowing,
  type PullState,
  requestCatchUp,
  startPull,
} from '../../client/src/reading/pull-core.ts'
import type { Command, Moment, Outcome, PullEnd, PullSetup } from '../../client/src/reading/pull-terms.ts'
import { type FrameQueue, makeFrameQueue } from '../../client/src/socket/frame-queue.ts'
import { eventsFrom, numbers } from '../support/events.ts'
import { check, randomFrom } from '../support/random.ts'
import { SimulatedServer, type Trouble, troubles } from './support/simulated-server.ts'

const settings = {
  maxItemEvents: 3,
  attempts: 3,
  liveMode: 'sse' as const,
  renewIntervalMs: 60_000,
  reconnectSpreadMs: 3_000,
  initialDelayMs: 100,
  maxDelayMs: 10_000,
}

/** One pull in a world of its own. Time passes only when the pull waits. */
class World {
  readonly server: SimulatedServer
  readonly setup: PullSetup
  readonly given: number[] = []
  readonly pageInfos: string[] = []
  readonly requests: { at: number; command: Command }[] = []
  now = 0
  remembered: string | undefined
  end: PullEnd | 'done' | undefined
  /** Every live connection brings an event that links to nothing; pages do not. */
  breaksLive = false
  /** What live connections bring next, in place of what the server has. */
  readonly live: Outcome[] = []
  /** The open socket. */
  socket: FrameQueue | undefined
  #isGreeted = false
  state: PullState
  /** The position of the live connection, in appends. */
  #live: number | undefined
  readonly #random: () => number

  constructor(options: {
    live?: boolean
    liveMode?: LiveMode
    party?: 'worker' | 'log'
    perPage?: number
    start?: Start
    random?: () => number
    server?: SimulatedServer
  }) {
    const {
      live = true,
      liveMode = 'sse',
      party = 'worker',
      perPage = 4,
      start = { seqNum: 0, offset: undefined },
      random = () => 0.5,
    } = options
    this.server = options.server ?? new SimulatedServer(party, perPage)
    this.setup = {
      live,
      party,
      implicitId: party === 'log' ? 'path:t/s' : undefined,
      settings: { ...settings, liveMode },
    }
    this.#random = random
    this.state = startPull(this.setup, start, 0, this.#moment())
  }

  #moment(): Moment {
    return { now: this.now, random: this.#random(), remembered: this.remembered }
  }

  /** Carries out one command. `confirms`: the server answers which backend it has. */
  step(trouble: Trouble, confirms = true): void {
    if (this.end !== undefined) return
    const command = commandOf(this.setup, this.state, this.#moment())
    this.#checkPromises(command)
    const outcome = this.#perform(command, trouble, confirms)
    if (outcome === undefined) return
    this.state = advance(this.setup, this.state, outcome, this.#moment())
    if (!isFollowing(this.state)) this.socket = undefined
  }

  /** Somebody appends `count` events, which an open socket brings, or announces, or does not see. */
  grow(count: number, arrival: Arrival): void {
    const parent = this.server.head
    this.server.grow(count)
    const { head, tail: offset, appends } = this.server
    if (arrival === 'moved') this.socket?.observeHead(head)
    if (arrival === 'events') this.socket?.add({ parent, head, offset, messages: appends.at(-1) ?? [], size: count })
  }

  #checkPromises(command: Command): void {
    if (command._tag !== 'Rest' || this.state.connected !== false) return
    // LiveStore's pushes wait after an item that announces more. A lost connection must not keep them waiting
    expect(this.pageInfos.at(-1) ?? 'NoMore').toBe('NoMore')
    expect(this.state.problem).toBeDefined()
  }

  #perform(command: Command, trouble: Trouble, confirms: boolean): Outcome | undefined {
    switch (command._tag) {
      case 'Give':
        this.given.push(...command.item.batch.map(({ event }) => event.seqNum))
        this.pageInfos.push(command.item.pageInfo._tag)
        return { _tag: 'Ok' }
      case 'Done':
        this.end = 'done'
        return undefined
      case 'Fail':
        this.end = command.end
        return undefined
      case 'Rest':
        this.now += command.ms
        return { _tag: 'Ok' }
      case 'Learn':
        this.remembered = command.backendId
        return { _tag: 'Ok' }
      case 'Listen':
        this.#ask(command)
        this.#live = undefined
        this.socket = command.query.live === 'websocket' ? makeFrameQueue() : undefined
        this.#isGreeted = false
        return { _tag: 'Ok' }
      case 'Next':
        return this.live.shift() ?? this.#next(command.withinMs, trouble)
      case 'Read':
        this.#ask(command)
        return this.server.read(command.query, trouble)
      case 'Identify':
      case 'Confirm':
        this.#ask(command)
        return confirms
          ? {
              _tag: 'Identified',
              backendId: this.server.backendId,
              tail: this.server.offset(this.server.appends.length),
            }
          : this.server.read(query, 'no answer')
      case 'Create':
        return { _tag: 'Ok' }
    }
  }

  #next(withinMs: number, trouble: Trouble): Outcome {
    return this.socket === undefined
      ? this.#nextOfStream(withinMs, trouble)
      : this.#nextOfSocket(this.socket, withinMs, trouble)
  }

  #nextOfSocket(socket: FrameQueue, withinMs: number, trouble: Trouble): Outcome {
    if (trouble !== 'none') return this.#isGreeted ? cut : { _tag: 'Ended' }
    const { seqNum } = this.state
    const page = (messages: readonly unknown[], offset: string, head: number): Outcome => {
      const rest = { url: '', upToDate: true, cursor: undefined, canStream: true, backendId: this.server.backendId }
      return { _tag: 'Page', page: { ...rest, messages, next: offset, head } }
    }
    if (!this.#isGreeted) {
      this.#isGreeted = true
      socket.observeHead(this.server.head)
      if (this.server.head === seqNum) return page([], this.server.tail, seqNum)
    }
    const taken = socket.take(seqNum)
    if (taken?._tag === 'Batch') return page(taken.batch.messages, taken.batch.offset, taken.batch.head)
    if (taken !== undefined) return taken
    this.now += withinMs
    return { _tag: 'Elapsed' }
  }

  #nextOfStream(withinMs: number, trouble: Trouble): Outcome {
    const from = this.#live
    this.#live = this.server.appends.length
    const page = this.server.read({ ...query, offset: this.state.offset }, trouble)
    if (this.breaksLive && page._tag === 'Page') {
      return { _tag: 'Page', page: { ...page.page, messages: eventsFrom(this.server.head + 90, 1) } }
    }
    const hasNews = from === undefined || from < this.server.appends.length || page._tag !== 'Page'
    if (hasNews) return page
    this.now += withinMs
    return { _tag: 'Elapsed' }
  }

  #ask(command: Command): void {
    this.now += 5
    this.requests.push({ at: this.now, command })
  }

  /** Steps without trouble until the pull waits at the log's end. */
  settle(): void {
    for (let i = 0; i < 400; i++) {
      const atEnd =
        this.state.seqNum === this.server.head && this.state.ready.length === 0 && this.state.phase._tag === 'Following'
      const isSettled = atEnd && this.state.problem === undefined && this.live.length === 0
      if (this.end !== undefined || isSettled) return
      this.step('none')
    }
    throw new Error(`it does not settle: ${JSON.stringify(this.state)}`)
  }
}

const cut: Outcome = { _tag: 'Cut', failure: new TransportError('the socket closed') }

type Arrival = 'events' | 'moved' | 'unseen'

const query = {
  offset: '-1',
  after: undefined,
  live: undefined,
  cursor: undefined,
  backendId: undefined,
  nonce: undefined,
  fresh: false,
}

const stepModel = {
  trouble: fc.oneof(
    { weight: 3, arbitrary: fc.constant<Trouble>('none') },
    { weight: 2, arbitrary: fc.constantFrom(...troubles) },
  ),
  confirms: fc.boolean(),
  appends: fc.option(fc.integer({ min: 1, max: 7 }), { freq: 4 }),
  wanted: fc.boolean(),
}
const step = fc.record(stepModel)

describe.each(['worker', 'log'] as const)('a live pull of the %s', (party) => {
  test('property: whoever answers in between, gives every event once and in order, and never ends', () =>
    check(
      fc.property(
        fc.array(step, { maxLength: 120 }),
        fc.integer(),
        fc.integer({ min: 1, max: 5 }),
        (steps, seed, perPage) => {
          const world = new World({ party, perPage, random: randomFrom(seed) })
          for (const { trouble, confirms, appends, wanted: isWanted } of steps) {
            if (appends !== null) world.server.grow(appends)
            if (isWanted) world.state = requestCatchUp(world.state, world.server.head)
            // The pull reads a break once more before it counts. A break that stays is the log's own
            world.step(trouble === 'mangled' && world.state.suspect ? 'none' : trouble, confirms)
          }
          world.settle()
          expect(world.end).toBeUndefined()
          expect(world.given).toEqual(numbers(1, world.server.head))
          expect([world.pageInfos.at(-1), world.state.connected, world.state.problem]).toEqual([
            'NoMore',
            true,
            undefined,
          ])
        },
      ),
      500,
    ))

  test('property: resumes without loss from any offset, of this log or none', () =>
    check(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 6 }), { minLength: 1, maxLength: 20 }),
        fc.nat(),
        fc.option(fc.nat(30)),
        (sizes, at, offset) => {
          const server = new SimulatedServer(party, 3)
          for (const size of sizes) server.grow(size)
          const seqNum = at % (server.head + 1)
          // A log that does not tell its head can't show that an offset beyond the cursor skips events
          const last =
            party === 'worker'
              ? sizes.length
              : server.appends.filter((events) => events.at(-1)!.seqNum <= seqNum).length
          const start = {
            seqNum,
            offset: offset === null ? undefined : offset > last ? 'of another server' : server.offset(offset),
          }
          const world = new World({ party, start, server })
          world.remembered = server.backendId
          world.settle()
          expect([world.end, world.given]).toEqual([undefined, numbers(seqNum + 1, server.head)])
        },
      ),
    ))

  test('property: after a reset gives nothing of the new log, and ends with the mismatch', () =>
    check(
      fc.property(fc.array(step, { maxLength: 40 }), fc.nat(12), (steps, count) => {
        const world = new World({ party })
        world.server.grow(5)
        world.settle()
        world.server.reset()
        for (let i = 0; i < count; i++) world.server.grow(1)
        for (const { trouble, confirms } of steps) world.step(trouble, confirms)
        for (let i = 0; i < 400 && world.end === undefined; i++) world.step('none')
        expect(world.end).toMatchObject({ _tag: 'BackendIdMismatch', expected: 'backend-1', received: "backend-1'" })
        expect(world.given).toEqual(numbers(1, 5))
      }),
    ))

  test.each(troubles.filter((_) => _ !== 'stale'))('%s forever: makes ever fewer requests', (trouble) => {
    const world = new World({ party })
    world.server.grow(5)
    for (let i = 0; i < 2_000 && world.now < 10 * 60_000; i++) world.step(trouble)
    const late = world.requests.filter(({ at }) => at > 5 * 60_000).length
    // Five minutes with a run every 5 to 10 seconds. A run may read twice and ask for the backend
    expect(late).toBeLessThanOrEqual(60 * 4)
    expect(world.end === undefined || trouble === 'mangled').toBe(true)
  })
})

describe('a live pull on a socket', () => {
  const ended: Outcome = { _tag: 'Ended' }
  const silent: Outcome = { _tag: 'Stalled', heard: false, failure: new TransportError('silence', { timedOut: true }) }

  const follow = (head: number) => {
    const world = new World({ liveMode: 'websocket' })
    world.server.grow(head)
    world.settle()
    return world
  }
  /** The requests since the last call: `read`, or the kind of the live connection. */
  const asked = (world: World) =>
    world.requests
      .splice(0)
      .map(({ command }) => (command._tag === 'Read' || command._tag === 'Listen' ? command.query.live : command._tag))
      .map((live) => live ?? 'read')

  test('property: whoever answers in between, gives every event once and in order, and never ends', () =>
    check(
      fc.property(
        fc.array(
          fc.record({ ...stepModel, arrival: fc.constantFrom<Arrival>('events', 'events', 'moved', 'unseen') }),
          {
            maxLength: 120,
          },
        ),
        fc.integer(),
        (steps, seed) => {
          const world = new World({ liveMode: 'websocket', random: randomFrom(seed) })
          for (const { trouble, confirms, appends, wanted: isWanted, arrival } of steps) {
            if (appends !== null) world.grow(appends, arrival)
            if (isWanted) world.state = requestCatchUp(world.state, world.server.head)
            world.step(trouble === 'mangled' && world.state.suspect ? 'none' : trouble, confirms)
          }
          world.settle()
          expect(world.end).toBeUndefined()
          expect(world.given).toEqual(numbers(1, world.server.head))
          expect([world.pageInfos.at(-1), world.state.connected, world.state.problem]).toEqual([
            'NoMore',
            true,
            undefined,
          ])
        },
      ),
      500,
    ))

  test('stays on it through a catch-up, and what arrives meanwhile links', () => {
    const world = follow(3)
    expect(asked(world).slice(-1)).toEqual(['websocket'])
    world.grow(2, 'moved')
    while (world.state.phase._tag !== 'Reading') world.step('none')
    expect([isFollowing(world.state), world.socket === undefined]).toEqual([true, false])
    world.step('none')
    world.grow(1, 'events')
    world.settle()
    expect(asked(world)).toEqual(['read'])
    expect(world.given).toEqual(numbers(1, 6))
  })

  test('stays on it through the catch-up that comes about once a minute', () => {
    const world = follow(3)
    world.requests.splice(0)
    const since = world.now
    for (let i = 0; i < 1_000 && world.now < since + 10 * 60_000; i++) world.step('none')
    expect(new Set(asked(world))).toEqual(new Set(['read']))
  })

  test('leaves it if the catch-up fails, and opens another', () => {
    const world = follow(3)
    asked(world)
    world.grow(2, 'moved')
    while (world.state.phase._tag !== 'Reading') world.step('none')
    world.step('no answer')
    expect(world.socket).toBeUndefined()
    world.settle()
    expect(asked(world)).toEqual(['read', 'read', 'websocket'])
    expect(world.given).toEqual(numbers(1, 5))
  })

  test('asks ever more seldom for events that the server announces and does not have', () => {
    const world = follow(3)
    asked(world)
    world.socket?.observeHead(9)
    const since = world.now
    for (let i = 0; i < 1_000 && world.now < since + 60_000; i++) world.step('none')
    const requests = asked(world)
    expect(new Set(requests)).toEqual(new Set(['read']))
    expect([requests.length > 4, requests.length < 20]).toEqual([true, true])
    // A server that lagged behind: at last it has them
    world.server.grow(6)
    world.settle()
    expect(world.given).toEqual(numbers(1, 9))
  })

  test('uses SSE where there is no WebSocket', () => {
    const world = new World({ liveMode: 'websocket' })
    world.live.push({ _tag: 'NoSocket' })
    world.server.grow(3)
    world.settle()
    expect(asked(world).filter((what) => what !== 'Confirm')).toEqual(['read', 'websocket', 'sse'])
    expect([world.given, world.state.problem]).toEqual([[1, 2, 3], undefined])
  })

  test('falls back to SSE and then to long-poll where nothing gets through, and tries the socket again later', () => {
    const world = new World({ liveMode: 'websocket' })
    world.server.grow(3)
    world.live.push(ended, ended, ended, silent, silent)
    for (let i = 0; i < 200 && world.state.phase._tag !== 'Polling'; i++) world.step('none')
    expect(asked(world).filter((what) => what !== 'Confirm' && what !== 'read')).toEqual([
      'websocket',
      'websocket',
      'websocket',
      'sse',
      'sse',
    ])
    expect([world.given, world.end]).toEqual([[1, 2, 3], undefined])
    world.now += 11 * 60_000
    world.server.grow(1)
    world.settle()
    expect(asked(world).at(-1)).toBe('websocket')
    expect(world.given).toEqual(numbers(1, 4))
  })

  test('uses SSE after one socket that stayed silent', () => {
    const world = new World({ liveMode: 'websocket' })
    world.server.grow(3)
    world.live.push(silent)
    world.settle()
    expect(asked(world).filter((what) => what !== 'Confirm' && what !== 'read')).toEqual(['websocket', 'sse'])
  })

  test('keeps it if sockets that had worked are cut later than at once', () => {
    const world = follow(3)
    for (let i = 0; i < 5; i++) {
      world.now += 5_000
      world.live.push(cut)
      world.step('none')
      world.settle()
    }
    expect(asked(world).filter((what) => what !== 'Confirm' && what !== 'read')).toEqual(Array(6).fill('websocket'))
  })

  test('ends at a reset once the server confirms it', () => {
    const world = follow(3)
    const reset: Outcome = { _tag: 'Failed', failure: new TransportError('reset'), backendId: "backend-1'" }
    world.live.push(reset)
    world.step('none')
    world.step('none', false)
    expect(world.end).toBeUndefined()
    // The server does not confirm it, and still has the store
    world.settle()
    world.server.reset()
    world.live.push(reset)
    for (let i = 0; i < 100 && world.end === undefined; i++) world.step('none')
    expect(asked(world)).toContain('Confirm')
    expect(world.end).toEqual({ _tag: 'BackendIdMismatch', expected: 'backend-1', received: "backend-1'" })
  })
})

test.each([
  ['a live connection that breaks the chain, while pages do not', { breaksLive: true }],
  ['a long-poll that a cache answers at once', { liveMode: 'long-poll' as const }],
  ['SSE on an archived store', { closed: true, liveMode: 'sse' as const }],
  ['long-poll on an archived store', { closed: true, liveMode: 'long-poll' as const }],
  ['a socket on an archived store', { closed: true, liveMode: 'websocket' as const }],
])(
  '%s: the pull does not make more and more requests',
  (_, {
    breaksLive = false,
    closed = false,
    ...options
  }: { breaksLive?: boolean; closed?: boolean; liveMode?: LiveMode }) => {
    const world = new World(options)
    world.breaksLive = breaksLive
    world.server.closed = closed
    world.server.grow(5)
    for (let i = 0; i < 10_000 && world.now < 10 * 60_000; i++) world.step('none')
    expect([world.end, world.given]).toEqual([undefined, numbers(1, 5)])
    expect(world.now).toBeGreaterThanOrEqual(10 * 60_000)
    expect(world.requests.filter(({ at }) => at > 5 * 60_000).length).toBeLessThanOrEqual(60 * 4)
  },
)

test.each<LiveMode>(['sse', 'long-poll'])(
  'a stream that is closed before a reset: the pull by %s reads again at once, and ends with the mismatch',
  (liveMode) => {
    const world = new World({ liveMode })
    world.server.grow(5)
    for (let i = 0; i < 100 && world.given.length < 5; i++) world.step('none')
    expect(world.given).toEqual(numbers(1, 5))
    while (world.state.phase._tag !== 'Following' && world.state.phase._tag !== 'Polling') world.step('none')
    const { now } = world
    world.server.closed = true
    world.live.push(world.server.read({ ...query, offset: world.state.offset }, 'none'))
    world.step('none')
    expect([world.state.connected, world.state.problem]).toEqual([true, undefined])
    world.server.closed = false
    world.server.reset()
    for (let i = 0; i < 100 && world.end === undefined; i++) world.step('none')
    expect(world.end).toEqual({ _tag: 'BackendIdMismatch', expected: 'backend-1', received: "backend-1'" })
    expect(world.now - now).toBeLessThan(1_000)
  },
)

test('a good position that is torn from now on: the pull asks the server, and falls back to another', () => {
  const world = new World({})
  world.server.grow(5)
  world.settle()
  const failure = world.server.read(query, 'torn')
  // The log was moved: the old offset lies inside a record
  for (let i = 0; i < 12 && world.state.offset !== '-1' && !world.state.bySeqNum; i++) {
    if (world.state.phase._tag === 'Following' || world.state.phase._tag === 'Reading') {
      world.state = advance(world.setup, world.state, failure, {
        now: world.now,
        random: 0.5,
        remembered: world.remembered,
      })
    } else world.step('none')
  }
  expect([world.state.bySeqNum, world.state.offset]).toEqual([true, '-1'])
  world.server.grow(3)
  world.settle()
  expect([world.end, world.given]).toEqual([undefined, numbers(1, 8)])
})

test('a break of the log ends the pull only once the server has answered a second time', () => {
  const world = new World({})
  world.server.grow(3)
  world.settle()
  world.server.grow(1)
  Object.assign(world.server.appends.at(-1)![0]!, { parentSeqNum: 7, seqNum: 8 })
  for (let i = 0; i < 20; i++) world.step('none', false)
  expect(world.end).toBeUndefined()
  const since = world.now
  for (let i = 0; i < 200 && world.end === undefined; i++) world.step('none')
  // Mixed-up answers would have ended by then
  expect(world.now - since).toBeGreaterThan(20_000)
  expect(world.end).toMatchObject({
    _tag: 'Broken',
    note: expect.stringMatching(/expected an event whose parentSeqNum is 3, found seqNum 8 with parentSeqNum 7/),
  })
  expect(world.given).toEqual([1, 2, 3])
})

test('readers that lose their connections at the same moment come back over seconds, or over more if the server asks for it', () => {
  const returns = (failure: Outcome, liveMode: LiveMode = 'sse') =>
    numbers(1, 20).map((reader) => {
      const world = new World({ random: randomFrom(reader), liveMode })
      world.server.grow(3)
      world.settle()
      const lostAt = world.now
      world.state = advance(world.setup, world.state, failure, {
        now: lostAt,
        random: randomFrom(reader)(),
        remembered: world.remembered,
      })
      const before = world.requests.length
      while (world.requests.length === before) world.step('none')
      world.settle()
      expect(world.requests.length - before).toBe(2)
      return world.requests[before]!.at - lostAt
    })
  const spread = (times: number[]) => Math.max(...times) - Math.min(...times)
  for (const lost of [returns(new SimulatedServer('worker', 1).read(query, 'no answer')), returns(cut, 'websocket')]) {
    expect(spread(lost)).toBeGreaterThan(1_500)
    expect(Math.max(...lost)).toBeLessThanOrEqual(settings.reconnectSpreadMs + 5)
  }
  const asked = returns(new SimulatedServer('worker', 1).read(query, 'unavailable'))
  expect(Math.min(...asked)).toBeGreaterThanOrEqual(1_000)
})
