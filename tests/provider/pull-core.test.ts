// The decisions of a pull, in random worlds in which others answer, connections break, and the log grows or is reset.
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Start } from '../../client/src/reading/cursor.ts'
import { advance, commandOf, type PullState, requestCatchUp, startPull } from '../../client/src/reading/pull-core.ts'
import type { Command, Moment, Outcome, PullEnd, PullSetup } from '../../client/src/reading/pull-terms.ts'
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
  state: PullState
  /** The position of the live connection, in appends. */
  #live: number | undefined
  readonly #random: () => number

  constructor(options: {
    live?: boolean
    liveMode?: 'sse' | 'long-poll'
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
    if (outcome !== undefined) this.state = advance(this.setup, this.state, outcome, this.#moment())
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
        return { _tag: 'Ok' }
      case 'Next':
        return this.#next(command.withinMs, trouble)
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
      if (this.end !== undefined || (atEnd && this.state.problem === undefined)) return
      this.step('none')
    }
    throw new Error(`it does not settle: ${JSON.stringify(this.state)}`)
  }
}

const query = {
  offset: '-1',
  after: undefined,
  live: undefined,
  cursor: undefined,
  backendId: undefined,
  nonce: undefined,
  fresh: false,
}

const step = fc.record({
  trouble: fc.oneof(
    { weight: 3, arbitrary: fc.constant<Trouble>('none') },
    { weight: 2, arbitrary: fc.constantFrom(...troubles) },
  ),
  confirms: fc.boolean(),
  appends: fc.option(fc.integer({ min: 1, max: 7 }), { freq: 4 }),
  wanted: fc.boolean(),
})

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

  test.each(troubles.filter((_) => _ !== 'stale'))('%s for ever: makes ever fewer requests', (trouble) => {
    const world = new World({ party })
    world.server.grow(5)
    for (let i = 0; i < 2_000 && world.now < 10 * 60_000; i++) world.step(trouble)
    const late = world.requests.filter(({ at }) => at > 5 * 60_000).length
    // Five minutes with a run every 5 to 10 seconds. A run may read twice and ask for the backend
    expect(late).toBeLessThanOrEqual(60 * 4)
    expect(world.end === undefined || trouble === 'mangled').toBe(true)
  })
})

test.each([
  ['a live connection that breaks the chain, while pages do not', { breaksLive: true }],
  ['a long-poll that a cache answers at once', { liveMode: 'long-poll' as const }],
])(
  '%s: the pull does not make more and more requests',
  (_, { breaksLive = false, ...options }: { breaksLive?: boolean; liveMode?: 'long-poll' }) => {
    const world = new World(options)
    world.breaksLive = breaksLive
    world.server.grow(5)
    for (let i = 0; i < 10_000 && world.now < 10 * 60_000; i++) world.step('none')
    expect([world.end, world.given]).toEqual([undefined, numbers(1, 5)])
    expect(world.now).toBeGreaterThanOrEqual(10 * 60_000)
    expect(world.requests.filter(({ at }) => at > 5 * 60_000).length).toBeLessThanOrEqual(60 * 4)
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
  const returns = (failure: Outcome) =>
    numbers(1, 20).map((reader) => {
      const world = new World({ random: randomFrom(reader) })
      world.server.grow(3)
      world.settle()
      const cut = world.now
      world.state = advance(world.setup, world.state, failure, {
        now: cut,
        random: randomFrom(reader)(),
        remembered: world.remembered,
      })
      const before = world.requests.length
      while (world.requests.length === before) world.step('none')
      world.settle()
      expect(world.requests.length - before).toBe(2)
      return world.requests[before]!.at - cut
    })
  const spread = (times: number[]) => Math.max(...times) - Math.min(...times)
  const cut = returns(new SimulatedServer('worker', 1).read(query, 'no answer'))
  expect(spread(cut)).toBeGreaterThan(1_500)
  expect(Math.max(...cut)).toBeLessThanOrEqual(settings.reconnectSpreadMs + 5)
  const asked = returns(new SimulatedServer('worker', 1).read(query, 'unavailable'))
  expect(Math.min(...asked)).toBeGreaterThanOrEqual(1_000)
})
