// The inspector: asks the Worker for the state of a store, shows it, and follows the store's events. Everything that comes from
// a store becomes text, never markup.

const REFRESH_MS = 2_000
/** The wait between two live reads. */
const RESUME_MS = 500
/** The longest wait for an answer, which is slow while the upstream fails, and the longest live read. */
const TIMEOUT_MS = 90_000
/** How many of the last events to read when a store is opened. */
const FIRST_EVENTS = 20
/** The most events, and the most pushes, on the page. */
const MAX_ROWS = 100
/** The most characters of each text in an event's line. */
const PREVIEW_LENGTH = 80
/** The most characters of an event's arguments. */
const ARGS_LENGTH = 20_000

/** @type {<E extends HTMLElement>(id: string) => E} */
const byId = (id) => /** @type {any} */ (document.getElementById(id))
const form = /** @type {HTMLFormElement} */ (byId('choice'))
/** @type {(name: string) => HTMLInputElement} */
const field = (name) => /** @type {any} */ (form.elements.namedItem(name))

/**
 * @typedef {{ first: number, last: number, events: number, bytes: number }} Batch
 * @typedef {{ at: number, ms: number, batch: Batch | null, outcome: string, detail: string | null }} Push
 * @typedef {{ since: number, counts: [outcome: string, count: number][], recent: Push[] }} PushStats
 * @typedef {{ from: string, end: string, last: number, events: number, bytes: number }} Segment
 * @typedef {{ backend_id: string, head: number, offset: string, events: number, bytes: number, sealed: { events: number, bytes: number } }} Tip
 * @typedef {object} Inspected the answer of src/edge/inspect.rs
 * @property {{ state: string, detail: string | null, tip: Tip | null, segments: Segment[], sealed: number, sockets: number, waiting: number, pushes: PushStats | null, storage?: { bytes: number, most: number } | null, shard?: number | null }} store
 * @property {boolean[]} cached
 * @property {number | null} age
 * @property {number | null} head
 * @property {PushStats | null} refused
 * @typedef {{ name: string, args: unknown, seqNum: number, parentSeqNum: number, clientId: string, sessionId: string }} Event
 */

/** The Worker refused a request. The message is for the page's user. */
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

/** The header for the token; null if the Worker requires none. @type {string | null} */
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
async function get(url, signal) {
  const response = await send('GET', url, signal)
  if (response.ok) return response
  const problem = await response.json().catch(() => ({}))
  throw new Refusal(response.status, problem.detail ?? `The Worker answered with the status ${response.status}.`)
}

/** @param {AbortSignal} signal */
const withTimeout = (signal) => AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)])

// The open store

/** Ends the work for the open store. */
let openStore = new AbortController()

/**
 * @param {string} tenant
 * @param {string} store
 */
async function showStore(tenant, store) {
  openStore.abort()
  openStore = new AbortController()
  const { signal } = openStore
  const names = `${encodeURIComponent(tenant)}/${encodeURIComponent(store)}`
  byId('view').hidden = true
  showConnection('busy', 'Connecting …')
  /** The incarnation of the store whose events the page follows. */
  let followed = { backendId: '', controller: new AbortController() }
  signal.addEventListener('abort', () => followed.controller.abort())
  while (!signal.aborted) {
    try {
      const inspected = /** @type {Inspected} */ (
        await (await get(`/inspect/api/${names}`, withTimeout(signal))).json()
      )
      showInspected(inspected)
      showConnection('good', 'Connected')
      showMessage('trouble', '')
      const { state, tip } = inspected.store
      // Without a tip the backend id is unknown. Then keep following the same incarnation.
      const backendId = state === 'no-stream' ? '' : (tip?.backend_id ?? followed.backendId)
      if (backendId !== followed.backendId) {
        followed.controller.abort()
        followed = { backendId, controller: new AbortController() }
        byId('events').replaceChildren()
        if (tip !== null) void follow(names, tip, followed.controller.signal)
      }
      if (backendId === '')
        showMessage(
          'following',
          state === 'no-stream'
            ? 'The store has no stream yet.'
            : 'Waiting for the Sequencer to learn where the log ends.',
        )
    } catch (error) {
      if (signal.aborted) return
      showConnection('bad', error instanceof Refusal ? 'Refused' : 'No answer')
      showMessage('trouble', explain(error, 'admin'))
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
 * @param {string} scope that the request needs
 */
function explain(error, scope) {
  if (!(error instanceof Refusal)) return 'The Worker does not answer. The page asks again every 2 seconds.'
  if (error.status === 401) return `${error.message} Enter a token with the scope “${scope}” for this store.`
  return error.message
}

/**
 * Waits for `ms`, and then until the page is visible.
 * @param {number} ms
 * @param {AbortSignal} signal
 */
async function pause(ms, signal) {
  await new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer)
      signal.removeEventListener('abort', end) // or the listeners would pile up while the store is open
      resolve(undefined)
    }
    const timer = setTimeout(end, ms)
    signal.addEventListener('abort', end)
  })
  while (document.hidden && !signal.aborted) {
    await new Promise((resolve) => document.addEventListener('visibilitychange', resolve, { once: true }))
  }
}

// The store's events

/**
 * Follows the events of one incarnation of the store, through the route of its stream.
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
  const receive = (messages) => {
    // The first message of a stream is its header, without a number. The first append may begin with older events.
    const events = messages.filter(({ seqNum }) => typeof seqNum === 'number' && seqNum > seen)
    seen = events.at(-1)?.seqNum ?? seen
    showEvents(events)
  }
  while (!signal.aborted) {
    const readSignal = withTimeout(signal)
    try {
      // A live read would create a missing stream. Therefore HEAD first makes the Sequencer look at the stream.
      const { ok, headers } = await send('HEAD', `/v1/stream/${names}`, readSignal)
      const isHalted = headers.has('livestore-problem')
      if (ok && !isHalted && headers.get('livestore-backend-id') !== tip.backend_id) {
        await pause(REFRESH_MS, signal)
        continue
      }
      if (Number(headers.get('livestore-head')) > seen) {
        // Long-poll returns the existing events as one answer, because some servers end an SSE answer that begins with
        // many megabytes. A plain read would change the state of the edge cache.
        const response = await get(`/v1/stream/${names}?${from}&live=long-poll`, readSignal)
        if (response.status === 200) receive(await response.json())
        from = resumeAt(response.headers.get('stream-next-offset'))
      }
      const response = await get(`/v1/stream/${names}?${from}&live=sse`, readSignal)
      showMessage('following', '')
      for await (const { event, data } of serverSentEvents(response)) {
        if (event === 'control') from = resumeAt(JSON.parse(data).streamNextOffset)
        if (event === 'data') receive(JSON.parse(data))
      }
      // The read ends about once a minute, or at once if the stream is closed.
      await pause(RESUME_MS, signal)
    } catch (error) {
      if (signal.aborted) return
      from = `after=${seen}`
      if (readSignal.aborted) continue // the connection may be lost without an error, for example after a laptop slept
      showMessage('following', `Not following: ${explain(error, 'read')}`)
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
  /** The data lines of the event that is being read. @type {string[]} */
  let data = []
  /** The pieces of the line that is being read. @type {string[]} */
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

// The page

/**
 * @param {string} tag
 * @param {string} className
 * @param {(Node | string)[]} children
 */
function makeElement(tag, className, ...children) {
  const element = document.createElement(tag)
  if (className !== '') element.className = className
  element.append(...children)
  return element
}

/**
 * Sets the children of an element. Leaves unchanged ones alone: the user may have selected one, or a screen reader may be
 * reading it.
 * @param {Element | null} element
 * @param {readonly HTMLElement[]} children
 */
function setChildren(element, children) {
  if (element === null) return
  while (element.childElementCount > children.length) element.lastElementChild?.remove()
  for (const [at, child] of children.entries()) {
    const old = element.children[at]
    if (old === undefined) element.append(child)
    else if (!old.isEqualNode(child)) old.replaceWith(child)
  }
}

const numberFormat = new Intl.NumberFormat('en')
/** @param {number} value */
const formatNumber = (value) => numberFormat.format(value)
/** @param {number} bytes */
const formatBytes = (bytes) => {
  if (bytes < 1024) return `${bytes} B`
  return bytes < 1 << 20 ? `${(bytes / 1024).toFixed(1)} KiB` : `${(bytes / (1 << 20)).toFixed(1)} MiB`
}
/** @param {number} at */
const timeElement = (at) => {
  const element = makeElement('time', 'muted', new Date(at).toLocaleTimeString('en-GB'))
  element.setAttribute('datetime', new Date(at).toISOString())
  return element
}

/**
 * @param {'good' | 'busy' | 'bad'} state
 * @param {string} text
 */
function showConnection(state, text) {
  const element = byId('connection')
  if (element.textContent === text) return
  element.dataset['state'] = state
  element.textContent = text
}

/**
 * Shows a message, or hides its element if the text is empty.
 * @param {'trouble' | 'following'} id
 * @param {string} text
 */
function showMessage(id, text) {
  const element = byId(id)
  element.hidden = text === ''
  if (element.textContent !== text) element.textContent = text
}

/** @param {Inspected} inspected */
function showInspected(inspected) {
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
  if (store.detail !== null) figures.push(['Reason', store.detail, 'wide'])
  if (tip !== null) {
    figures.push(
      ['Head', formatNumber(tip.head), 'large'],
      ['Events', formatNumber(tip.events), 'large'],
      ['Size', formatBytes(tip.bytes), 'large'],
      ['Sealed segments', formatNumber(store.sealed), 'large'],
      ['Open sockets', formatNumber(store.sockets), 'large'],
      ['Backend id', tip.backend_id, 'wide mono'],
      ['Tail offset', tip.offset, 'wide mono'],
    )
  }
  if (store.storage) {
    const { bytes, most } = store.storage
    figures.push(['Storage', `${formatBytes(bytes)} of ${formatBytes(most)}`, bytes > 0.8 * most ? 'bad' : ''])
  }
  if (typeof store.shard === 'number') figures.push(['Upstream shard', formatNumber(store.shard), 'large'])
  if (store.waiting > 0) figures.push(['Clients waiting for a turn', formatNumber(store.waiting), 'large'])
  if (age !== null && head !== null)
    figures.push(['Tip in this isolate', `head ${formatNumber(head)}, ${formatNumber(Math.round(age / 1000))} s old`])
  setChildren(
    byId('figures'),
    figures.map(([term, value, className = '']) =>
      makeElement('div', className, makeElement('dt', '', term), makeElement('dd', '', value)),
    ),
  )
}

const KINDS = {
  earlier: 'earlier',
  unchecked: 'not checked',
  uncached: 'not in the edge cache here',
  cached: 'in the edge cache here',
  unsealed: 'unsealed tail',
}

/** @typedef {keyof typeof KINDS} Kind */

/** @param {Inspected} inspected */
function showLog({ store: { tip, segments, sealed }, cached }) {
  const unchecked = segments.length - cached.length
  const listed = segments.map((segment, at) => {
    /** @type {'unchecked' | 'cached' | 'uncached'} */
    const kind = at < unchecked ? 'unchecked' : cached[at - unchecked] ? 'cached' : 'uncached'
    return {
      ...segment,
      kind,
      what: `${formatNumber(segment.events)} events, up to event ${formatNumber(segment.last)}`,
    }
  })
  /** @type {{ kind: Kind, bytes: number, what: string }[]} */
  const parts = [...listed]
  if (tip !== null && sealed > segments.length) {
    const bytes = tip.sealed.bytes - segments.reduce((sum, segment) => sum + segment.bytes, 0)
    parts.unshift({ kind: 'earlier', bytes, what: `${formatNumber(sealed - segments.length)} segments` })
  }
  if (tip !== null && tip.bytes > tip.sealed.bytes) {
    parts.push({
      kind: 'unsealed',
      bytes: tip.bytes - tip.sealed.bytes,
      what: `${formatNumber(tip.events - tip.sealed.events)} events`,
    })
  }

  setChildren(
    byId('strip'),
    parts.map(({ kind, bytes, what }) => {
      const element = makeElement('span', kind)
      element.style.flexGrow = String(Math.max(1, bytes))
      element.title = `${what}: ${KINDS[kind]}`
      return element
    }),
  )
  const legend = Object.entries(KINDS).flatMap(([kind, title]) => {
    const ofKind = parts.filter((part) => part.kind === kind)
    if (ofKind.length === 0) return []
    const isSinglePart = kind === 'earlier' || kind === 'unsealed'
    const what = isSinglePart
      ? ofKind.map(({ what }) => what).join()
      : `${formatNumber(ofKind.length)} ${ofKind.length === 1 ? 'segment' : 'segments'}`
    return [{ kind, what: `${title}: ${what}, ${formatBytes(ofKind.reduce((sum, { bytes }) => sum + bytes, 0))}` }]
  })
  byId('strip').setAttribute(
    'aria-label',
    legend.length === 0 ? 'The log is empty' : `The log. ${legend.map(({ what }) => what).join('; ')}`,
  )
  setChildren(
    byId('legend'),
    legend.map(({ kind, what }) => makeElement('li', '', makeElement('i', kind), what)),
  )

  byId('segments').hidden = segments.length === 0
  const isCached = { cached: 'yes', uncached: 'no', unchecked: KINDS.unchecked }
  const rows = listed.toReversed().map(({ last, events, bytes, kind, end }) => {
    const cells = [formatNumber(last), formatNumber(events), formatBytes(bytes), isCached[kind]].map((cell) =>
      makeElement('td', '', cell),
    )
    return makeElement('tr', '', ...cells, makeElement('td', 'mono', end))
  })
  setChildren(byId('segments').querySelector('tbody'), rows)
}

/** The outcomes that are not faults. */
const ORDINARY = {
  accepted: { className: 'good', label: 'accepted', detail: '' },
  'accepted-again': {
    className: 'good',
    label: 'accepted again',
    detail: 'The batch was in the log already. The first answer was lost.',
  },
  'server-ahead': { className: 'busy', label: 'server ahead', detail: 'Another client pushed first.' },
}
/** @param {string} outcome */
const describeOutcome = (outcome) => {
  if (outcome in ORDINARY) return ORDINARY[/** @type {keyof typeof ORDINARY} */ (outcome)]
  return { className: 'bad', label: outcome.replaceAll('-', ' '), detail: '' }
}

/** @param {Inspected} inspected */
function showPushes({ store, refused }) {
  const sources = [
    { by: 'Sequencer', stats: store.pushes },
    { by: 'this isolate', stats: refused },
  ]
  const counts = sources.flatMap(({ by, stats }) => {
    if (stats === null) return []
    const chips = stats.counts.map(([outcome, count]) => {
      const { className, label } = describeOutcome(outcome)
      return makeElement('li', '', makeElement('b', className, formatNumber(count)), ` ${label}`)
    })
    if (chips.length === 0) chips.push(makeElement('li', '', 'none'))
    return [makeElement('li', 'muted', `${by}, since ${new Date(stats.since).toLocaleTimeString('en-GB')}:`), ...chips]
  })
  setChildren(byId('counts'), counts)

  const all = sources.flatMap(({ by, stats }) => (stats?.recent ?? []).map((push) => ({ ...push, by })))
  const rows = all
    .sort((a, b) => b.at - a.at)
    .slice(0, MAX_ROWS)
    .map(({ at, ms, batch, outcome, detail, by }) => {
      const { className, label, detail: general } = describeOutcome(outcome)
      const line = makeElement('div', 'line', timeElement(at), makeElement('span', `outcome ${className}`, label))
      if (batch !== null) {
        const range =
          batch.first === batch.last
            ? `event ${formatNumber(batch.first)}`
            : `events ${formatNumber(batch.first)} to ${formatNumber(batch.last)}`
        line.append(makeElement('span', '', range), makeElement('span', 'muted', formatBytes(batch.bytes)))
      }
      line.append(makeElement('span', 'muted', `${formatNumber(ms)} ms`), makeElement('span', 'muted', by))
      const details = [general, detail ?? ''].filter((text) => text !== '').join(' ')
      return details === ''
        ? makeElement('li', '', line)
        : makeElement('li', '', line, makeElement('p', 'muted', details))
    })
  if (rows.length === 0) rows.push(makeElement('li', 'muted', 'No pushes since then.'))
  setChildren(byId('pushes'), rows)
}

/** @param {Event[]} events */
function showEvents(events) {
  const list = byId('events')
  for (const event of events.slice(-MAX_ROWS)) list.prepend(eventRow(event))
  while (list.childElementCount > MAX_ROWS) list.lastElementChild?.remove()
}

/** @param {unknown} value a text, unless another tool wrote to the log */
const preview = (value) => {
  const text = String(value)
  const line = text.slice(0, PREVIEW_LENGTH).replaceAll(/\s+/g, ' ')
  return text.length > PREVIEW_LENGTH ? `${line} …` : line
}

/** @param {Event} event */
function eventRow({ seqNum, parentSeqNum, name, args, clientId, sessionId }) {
  const json = JSON.stringify(args, null, 1) ?? ''
  const line = makeElement(
    'span',
    'line',
    makeElement('span', 'number', formatNumber(seqNum)),
    makeElement('span', 'outcome', preview(name)),
    makeElement('span', 'muted', preview(clientId)),
    makeElement('code', 'muted', preview(json)),
  )
  // Shorten the arguments now, not when the user unfolds them. An event may have 1 MiB, and the page must not keep that.
  const shortened =
    json.length > ARGS_LENGTH ? `${json.slice(0, ARGS_LENGTH)} … (${formatNumber(json.length)} characters)` : json
  const origin = `${name} by ${clientId}, session ${sessionId}, after event ${formatNumber(parentSeqNum)}`
  return makeElement(
    'li',
    '',
    makeElement(
      'details',
      '',
      makeElement('summary', '', line),
      makeElement('p', 'muted', origin),
      makeElement('pre', '', shortened),
    ),
  )
}

// Start

const address = new URLSearchParams(location.search)
field('tenant').value = address.get('tenant') ?? ''
field('store').value = address.get('store') ?? ''
field('token').value = sessionStorage.getItem('headwater-token') ?? ''
form.addEventListener('submit', (submitted) => {
  submitted.preventDefault()
  const [tenant, store] = [field('tenant').value, field('store').value]
  sessionStorage.setItem('headwater-token', field('token').value)
  history.replaceState(null, '', `?${new URLSearchParams({ tenant, store })}`)
  void showStore(tenant, store)
})
try {
  tokenHeader = (await (await get('/inspect/api', AbortSignal.timeout(10_000))).json()).tokenHeader
  byId('token').hidden = tokenHeader === null
  if (field('tenant').value !== '' && field('store').value !== '') form.requestSubmit()
} catch (error) {
  showConnection('bad', 'No answer')
  showMessage('trouble', explain(error, 'admin'))
}
