// The inspector: asks the Worker that serves this page what it knows of a store, and follows the store's events.
// Nothing that comes from a store becomes markup: all of it is set as text.

const REFRESH_MS = 2_000
const RESUME_MS = 500
/** How long an answer is waited for, which while the upstream fails takes its time; and how long one live read goes on: servers end it sooner. */
const PATIENCE_MS = 90_000
/** Events that are asked for when a store is opened, and events and pushes that are shown at most. */
const FIRST_EVENTS = 20
const SHOWN = 100
/** Characters of what an event holds: of each text in its line, and of its arguments unfolded. */
const PREVIEW = 80
const UNFOLDED = 20_000

/** @type {<E extends HTMLElement>(id: string) => E} */
const byId = (id) => /** @type {any} */ (document.getElementById(id))
const form = /** @type {HTMLFormElement} */ (byId('choice'))
/** @type {(name: string) => HTMLInputElement} */
const field = (name) => /** @type {any} */ (form.elements.namedItem(name))

/**
 * @typedef {{ first: number, last: number, events: number, bytes: number }} Extent
 * @typedef {{ at: number, ms: number, batch: Extent | null, outcome: string, detail: string | null }} Push
 * @typedef {{ since: number, counts: [outcome: string, count: number][], recent: Push[] }} Tally
 * @typedef {{ from: string, end: string, last: number, events: number, bytes: number }} Segment
 * @typedef {{ backend_id: string, head: number, offset: string, events: number, bytes: number, sealed: { events: number, bytes: number } }} Tip
 * @typedef {object} Inspected what src/edge/inspect.rs answers
 * @property {{ state: string, detail: string | null, tip: Tip | null, segments: Segment[], sealed: number, pushes: Tally | null }} store
 * @property {boolean[]} cached
 * @property {number | null} age
 * @property {number | null} head
 * @property {Tally | null} refused
 * @typedef {{ name: string, args: unknown, seqNum: number, parentSeqNum: number, clientId: string, sessionId: string }} Event
 */

/** An answer that is none; its message is for a person. */
class Refusal extends Error {
  /**
   * @param {number} status
   * @param {string} message
   */
  constructor(status, message) {
    super(message)
    this.status = status
  }
}

/** The header that a token goes into; null if none is wanted. @type {string | null} */
let tokenHeader = null

/**
 * @param {'GET' | 'HEAD'} method
 * @param {string} url
 * @param {AbortSignal} signal
 */
function send(method, url, signal) {
  const token = field('token').value.trim()
  /** @type {Record<string, string>} */
  const headers = {}
  if (tokenHeader !== null && token !== '')
    headers[tokenHeader] = tokenHeader === 'authorization' ? `Bearer ${token}` : token
  return fetch(url, { method, headers, signal, cache: 'no-store' })
}

/**
 * @param {string} url
 * @param {AbortSignal} signal
 */
async function ask(url, signal) {
  const response = await send('GET', url, signal)
  if (response.ok) return response
  const problem = await response.json().catch(() => ({}))
  throw new Refusal(response.status, problem.detail ?? `The Worker answers ${response.status}.`)
}

/** @param {AbortSignal} signal */
const patient = (signal) => AbortSignal.any([signal, AbortSignal.timeout(PATIENCE_MS)])

// One store at a time

/** Ends what is asked for the store before. */
let opened = new AbortController()

/**
 * @param {string} tenant
 * @param {string} store
 */
async function open(tenant, store) {
  opened.abort()
  opened = new AbortController()
  const { signal } = opened
  const names = `${encodeURIComponent(tenant)}/${encodeURIComponent(store)}`
  byId('view').hidden = true
  connection('busy', 'Asking …')
  /** The life of the store that is followed. */
  let followed = { backendId: '', controller: new AbortController() }
  signal.addEventListener('abort', () => followed.controller.abort())
  while (!signal.aborted) {
    try {
      const inspected = /** @type {Inspected} */ (await (await ask(`/inspect/api/${names}`, patient(signal))).json())
      show(inspected)
      connection('good', 'Connected')
      say('trouble', '')
      const { state, tip } = inspected.store
      // While nobody can tell, what is followed is followed on.
      const backendId = state === 'no-stream' ? '' : (tip?.backend_id ?? followed.backendId)
      if (backendId !== followed.backendId) {
        followed.controller.abort()
        followed = { backendId, controller: new AbortController() }
        byId('events').replaceChildren()
        if (tip !== null) void follow(names, tip, followed.controller.signal)
      }
      if (backendId === '')
        say(
          'following',
          state === 'no-stream' ? 'There is no stream yet.' : 'Not followed while the end of the log is not known.',
        )
    } catch (error) {
      if (signal.aborted) return
      connection('bad', error instanceof Refusal ? 'Refused' : 'No answer')
      say('trouble', explain(error, 'admin'))
      if (error instanceof Refusal && [400, 401, 403, 404].includes(error.status)) {
        followed.controller.abort()
        return
      }
    }
    await pause(REFRESH_MS, signal)
  }
}

/**
 * @param {unknown} error
 * @param {string} scope
 */
function explain(error, scope) {
  if (!(error instanceof Refusal)) return 'The Worker does not answer. It is asked again every 2 seconds.'
  if (error.status === 401) return `${error.message} Put in a token that allows “${scope}” for this store.`
  if (error.status === 403 && tokenHeader !== null)
    return `${error.message} This needs a token with the scope “${scope}” for this tenant and store.`
  return error.message
}

/**
 * Until the page is seen again, and for so long at least.
 * @param {number} ms
 * @param {AbortSignal} signal
 */
async function pause(ms, signal) {
  await new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer)
      signal.removeEventListener('abort', end) // or they would gather, as long as the store is open
      resolve(undefined)
    }
    const timer = setTimeout(end, ms)
    signal.addEventListener('abort', end)
  })
  while (document.hidden && !signal.aborted) {
    await new Promise((resolve) => document.addEventListener('visibilitychange', resolve, { once: true }))
  }
}

// The log's events, by the stream's own route

/**
 * For as long as the store has this life.
 * @param {string} names
 * @param {Tip} tip
 * @param {AbortSignal} signal
 */
async function follow(names, tip, signal) {
  let seen = Math.max(0, tip.head - FIRST_EVENTS)
  let from = `after=${seen}`
  /** @param {string | null} offset */
  const resumeAt = (offset) => (offset === null ? `after=${seen}` : `offset=${encodeURIComponent(offset)}`)
  /** @param {Event[]} messages */
  const take = (messages) => {
    // The first message of a stream is its header; an append that is begun with may hold events of before.
    const events = messages.filter(({ seqNum }) => typeof seqNum === 'number' && seqNum > seen)
    seen = events.at(-1)?.seqNum ?? seen
    showEvents(events)
  }
  while (!signal.aborted) {
    const turn = patient(signal)
    try {
      // A live read of a stream that is not there would make it; and to look tells the Sequencer what has become of it.
      const { ok, headers } = await send('HEAD', `/v1/stream/${names}`, turn)
      if (ok && headers.get('livestore-backend-id') !== tip.backend_id) {
        await pause(REFRESH_MS, signal)
        continue
      }
      if (Number(headers.get('livestore-head')) > seen) {
        // What is there comes as one answer, past the edge cache, whose state would change by it otherwise: of SSE, some
        // servers end an answer that begins with many megabytes.
        const response = await ask(`/v1/stream/${names}?${from}&live=long-poll`, turn)
        if (response.status === 200) take(await response.json())
        from = resumeAt(response.headers.get('stream-next-offset'))
      }
      const response = await ask(`/v1/stream/${names}?${from}&live=sse`, turn)
      say('following', '')
      for await (const { event, data } of serverSentEvents(response)) {
        if (event === 'control') from = resumeAt(JSON.parse(data).streamNextOffset)
        if (event === 'data') take(JSON.parse(data))
      }
      // It ends once a minute or so; at once where the stream is closed.
      await pause(RESUME_MS, signal)
    } catch (error) {
      if (signal.aborted) return
      from = `after=${seen}`
      if (turn.aborted) continue // a connection that was lost without a word, as by a laptop that slept, does not tell
      say('following', `Not following: ${explain(error, 'read')}`)
      if (error instanceof Refusal && [401, 403].includes(error.status)) return
      await pause(REFRESH_MS, signal)
    }
  }
}

/** @param {Response} response */
async function* serverSentEvents(response) {
  if (response.body === null) return
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader()
  let event = ''
  /** Lines of the event that is being read. @type {string[]} */
  let data = []
  /** Pieces of the line that is being read. @type {string[]} */
  let pieces = []
  for (let { done, value } = await reader.read(); !done; { done, value } = await reader.read()) {
    const [first = '', ...others] = (value ?? '').split('\n')
    pieces.push(first)
    for (const next of others) {
      const line = pieces.join('').replace(/\r$/, '')
      pieces = [next]
      if (line === '') {
        yield { event, data: data.join('\n') }
        event = ''
        data = []
      }
      if (line.startsWith('event:')) event = line.slice('event:'.length).trim()
      if (line.startsWith('data:')) data.push(line.slice('data:'.length))
    }
  }
}

// What is shown

/**
 * @param {string} tag
 * @param {string} className
 * @param {(Node | string)[]} children
 */
function make(tag, className, ...children) {
  const element = document.createElement(tag)
  if (className !== '') element.className = className
  element.append(...children)
  return element
}

/**
 * Makes these the children, but leaves alone what is the same already: it may be selected, or being read out.
 * @param {Element | null} element
 * @param {readonly HTMLElement[]} children
 */
function fill(element, children) {
  if (element === null) return
  while (element.childElementCount > children.length) element.lastElementChild?.remove()
  for (const [at, child] of children.entries()) {
    const old = element.children[at]
    if (old === undefined) element.append(child)
    else if (!old.isEqualNode(child)) old.replaceWith(child)
  }
}

const numbers = new Intl.NumberFormat('en')
/** @param {number} value */
const number = (value) => numbers.format(value)
/** @param {number} bytes */
const size = (bytes) => {
  if (bytes < 1024) return `${bytes} B`
  return bytes < 1 << 20 ? `${(bytes / 1024).toFixed(1)} KiB` : `${(bytes / (1 << 20)).toFixed(1)} MiB`
}
/** @param {number} at */
const clock = (at) => {
  const element = make('time', 'muted', new Date(at).toLocaleTimeString('en-GB'))
  element.setAttribute('datetime', new Date(at).toISOString())
  return element
}

/**
 * @param {'good' | 'busy' | 'bad'} is
 * @param {string} words
 */
function connection(is, words) {
  const element = byId('connection')
  if (element.textContent === words) return
  element.dataset['is'] = is
  element.textContent = words
}

/**
 * Says it in the element that is there for it, and hides that if there is nothing to say.
 * @param {'trouble' | 'following'} id
 * @param {string} words
 */
function say(id, words) {
  const element = byId(id)
  element.hidden = words === ''
  if (element.textContent !== words) element.textContent = words
}

/** @param {Inspected} inspected */
function show(inspected) {
  showFigures(inspected)
  showLog(inspected)
  showPushes(inspected)
  byId('view').hidden = false
}

/** @param {Inspected} inspected */
function showFigures({ store, age, head }) {
  const { tip } = store
  const isHealthy = store.state === 'ready' || store.state === 'no-stream'
  const states = { ready: 'Ready', 'no-stream': 'No stream yet' }
  /** @type {[term: string, value: string, className?: string][]} */
  const figures = [
    ['State', states[/** @type {'ready'} */ (store.state)] ?? store.state.replaceAll('-', ' '), isHealthy ? '' : 'bad'],
  ]
  if (store.detail !== null) figures.push(['Why', store.detail, 'wide'])
  if (tip !== null) {
    figures.push(
      ['Head', number(tip.head), 'large'],
      ['Events', number(tip.events), 'large'],
      ['Size', size(tip.bytes), 'large'],
      ['Sealed segments', number(store.sealed), 'large'],
      ['Backend id', tip.backend_id, 'wide mono'],
      ['Tail offset', tip.offset, 'wide mono'],
    )
  }
  if (age !== null && head !== null)
    figures.push(['This isolate remembers', `head ${number(head)}, for ${number(Math.round(age / 1000))} s`])
  fill(
    byId('figures'),
    figures.map(([term, value, className = '']) => make('div', className, make('dt', '', term), make('dd', '', value))),
  )
}

const KINDS = {
  earlier: 'earlier',
  unlooked: 'not looked for',
  away: 'not in the edge cache here',
  cached: 'in the edge cache here',
  unsealed: 'unsealed tail',
}

/** @typedef {keyof typeof KINDS} Kind */

/** @param {Inspected} inspected */
function showLog({ store: { tip, segments, sealed }, cached }) {
  const looked = segments.length - cached.length
  const listed = segments.map((segment, at) => {
    /** @type {'unlooked' | 'cached' | 'away'} */
    const kind = at < looked ? 'unlooked' : cached[at - looked] ? 'cached' : 'away'
    return { ...segment, kind, what: `${number(segment.events)} events up to ${number(segment.last)}` }
  })
  /** @type {{ kind: Kind, bytes: number, what: string }[]} */
  const parts = [...listed]
  if (tip !== null && sealed > segments.length) {
    const bytes = tip.sealed.bytes - segments.reduce((sum, segment) => sum + segment.bytes, 0)
    parts.unshift({ kind: 'earlier', bytes, what: `${number(sealed - segments.length)} segments` })
  }
  if (tip !== null && tip.bytes > tip.sealed.bytes) {
    parts.push({
      kind: 'unsealed',
      bytes: tip.bytes - tip.sealed.bytes,
      what: `${number(tip.events - tip.sealed.events)} events`,
    })
  }

  fill(
    byId('strip'),
    parts.map(({ kind, bytes, what }) => {
      const element = make('span', kind)
      element.style.flexGrow = String(Math.max(1, bytes))
      element.title = `${what}: ${KINDS[kind]}`
      return element
    }),
  )
  const legend = Object.entries(KINDS).flatMap(([kind, words]) => {
    const some = parts.filter((part) => part.kind === kind)
    if (some.length === 0) return []
    const alone = kind === 'earlier' || kind === 'unsealed'
    const what = alone
      ? some.map(({ what }) => what).join()
      : `${number(some.length)} ${some.length === 1 ? 'segment' : 'segments'}`
    return [{ kind, what: `${words}: ${what}, ${size(some.reduce((sum, { bytes }) => sum + bytes, 0))}` }]
  })
  byId('strip').setAttribute(
    'aria-label',
    legend.length === 0 ? 'The log is empty' : `The log. ${legend.map(({ what }) => what).join('; ')}`,
  )
  fill(
    byId('legend'),
    legend.map(({ kind, what }) => make('li', '', make('i', kind), what)),
  )

  byId('segments').hidden = segments.length === 0
  const isCached = { cached: 'yes', away: 'no', unlooked: KINDS.unlooked }
  const rows = listed.toReversed().map(({ last, events, bytes, kind, end }) => {
    const cells = [number(last), number(events), size(bytes), isCached[kind]].map((cell) => make('td', '', cell))
    return make('tr', '', ...cells, make('td', 'mono', end))
  })
  fill(byId('segments').querySelector('tbody'), rows)
}

/** Of the outcomes, those that are no fault. */
const ORDINARY = {
  accepted: { className: 'good', words: 'accepted', detail: '' },
  'accepted-again': {
    className: 'good',
    words: 'accepted again',
    detail: 'It was in the log already: its answer had got lost.',
  },
  'server-ahead': { className: 'busy', words: 'server ahead', detail: 'Another client was first.' },
}
/** @param {string} outcome */
const judged = (outcome) => {
  if (outcome in ORDINARY) return ORDINARY[/** @type {keyof typeof ORDINARY} */ (outcome)]
  return { className: 'bad', words: outcome.replaceAll('-', ' '), detail: '' }
}

/** @param {Inspected} inspected */
function showPushes({ store, refused }) {
  const tallies = [
    { by: 'Sequencer', tally: store.pushes },
    { by: 'this isolate', tally: refused },
  ]
  const counts = tallies.flatMap(({ by, tally }) => {
    if (tally === null) return []
    const chips = tally.counts.map(([outcome, count]) => {
      const { className, words } = judged(outcome)
      return make('li', '', make('b', className, number(count)), ` ${words}`)
    })
    if (chips.length === 0) chips.push(make('li', '', 'none'))
    return [make('li', 'muted', `${by}, since ${new Date(tally.since).toLocaleTimeString('en-GB')}:`), ...chips]
  })
  fill(byId('counts'), counts)

  const all = tallies.flatMap(({ by, tally }) => (tally?.recent ?? []).map((push) => ({ ...push, by })))
  const rows = all
    .sort((a, b) => b.at - a.at)
    .slice(0, SHOWN)
    .map(({ at, ms, batch, outcome, detail, by }) => {
      const { className, words, detail: known } = judged(outcome)
      const line = make('div', 'line', clock(at), make('span', `outcome ${className}`, words))
      if (batch !== null) {
        const range =
          batch.first === batch.last
            ? `event ${number(batch.first)}`
            : `events ${number(batch.first)} to ${number(batch.last)}`
        line.append(make('span', '', range), make('span', 'muted', size(batch.bytes)))
      }
      line.append(make('span', 'muted', `${number(ms)} ms`), make('span', 'muted', by))
      const why = [known, detail ?? ''].filter((one) => one !== '').join(' ')
      return why === '' ? make('li', '', line) : make('li', '', line, make('p', 'muted', why))
    })
  if (rows.length === 0) rows.push(make('li', 'muted', 'No push since then.'))
  fill(byId('pushes'), rows)
}

/** @param {Event[]} events */
function showEvents(events) {
  const list = byId('events')
  for (const event of events.slice(-SHOWN)) list.prepend(eventRow(event))
  while (list.childElementCount > SHOWN) list.lastElementChild?.remove()
}

/** @param {unknown} value mostly a text; but other tools may have written to the log */
const preview = (value) => {
  const text = String(value)
  const line = text.slice(0, PREVIEW).replaceAll(/\s+/g, ' ')
  return text.length > PREVIEW ? `${line} …` : line
}

/** @param {Event} event */
function eventRow({ seqNum, parentSeqNum, name, args, clientId, sessionId }) {
  const json = JSON.stringify(args, null, 1) ?? ''
  const line = make(
    'span',
    'line',
    make('span', 'number', number(seqNum)),
    make('span', 'outcome', preview(name)),
    make('span', 'muted', preview(clientId)),
    make('code', 'muted', preview(json)),
  )
  // Not only when it is unfolded: all the rest of an event, which may have 1 MiB, is let go now.
  const whole = json.length > UNFOLDED ? `${json.slice(0, UNFOLDED)} … (${number(json.length)} characters)` : json
  const origin = `${name} by ${clientId}, session ${sessionId}, after event ${number(parentSeqNum)}`
  return make(
    'li',
    '',
    make('details', '', make('summary', '', line), make('p', 'muted', origin), make('pre', '', whole)),
  )
}

// Begin

const address = new URLSearchParams(location.search)
field('tenant').value = address.get('tenant') ?? ''
field('store').value = address.get('store') ?? ''
field('token').value = sessionStorage.getItem('headwater-token') ?? ''
form.addEventListener('submit', (submitted) => {
  submitted.preventDefault()
  const [tenant, store] = [field('tenant').value, field('store').value]
  sessionStorage.setItem('headwater-token', field('token').value)
  history.replaceState(null, '', `?${new URLSearchParams({ tenant, store })}`)
  void open(tenant, store)
})
try {
  tokenHeader = (await (await ask('/inspect/api', AbortSignal.timeout(10_000))).json()).tokenHeader
  byId('token').hidden = tokenHeader === null
  if (field('tenant').value !== '' && field('store').value !== '') form.requestSubmit()
} catch (error) {
  connection('bad', 'No answer')
  say('trouble', explain(error, 'admin'))
}
