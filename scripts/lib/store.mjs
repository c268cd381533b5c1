// A store of a running Headwater, for the scripts of an administrator.
import { setTimeout as pause } from 'node:timers/promises'

/** How often a request is sent that was answered 429 or 503, or not at all. */
const ATTEMPTS = 20

export const STORE_HELP = `  URL            the store's URL, such as http://127.0.0.1:8787/v1/stream/demo/my-store
  --token TEXT   a token, if the deployment requires tokens (default: $HEADWATER_TOKEN). Its scopes: read for an export,
                 admin for a move, and both for an import`

/**
 * Runs a script. An error ends it with its message alone.
 * @param {() => Promise<void>} main
 */
export async function runMain(main) {
  try {
    await main()
  } catch (error) {
    console.error(error instanceof Error ? error.message : error)
    process.exit(1)
  }
}

/**
 * The last seqNum that is wanted, from the option `--until`.
 * @param {string | undefined} text
 */
export function lastWanted(text) {
  if (text === undefined) return Number.POSITIVE_INFINITY
  if (!/^\d+$/.test(text)) throw new Error(`--until must be a seqNum (0 or more), not '${text}'`)
  return Number(text)
}

/**
 * @typedef {{ status: number, body: any }} Answer
 * @typedef {ReturnType<typeof openStore>} Store
 */

/**
 * @param {string | undefined} url
 * @param {string | undefined} token
 */
export function openStore(url, token = process.env.HEADWATER_TOKEN) {
  const [, origin, names] = /^(https?:\/\/[^/?#]+)\/v1\/stream\/([^/?#]+\/[^/?#]+)$/.exec(url ?? '') ?? []
  if (origin === undefined)
    throw new Error(`URL must be a store's, such as http://127.0.0.1:8787/v1/stream/demo/my-store, not '${url ?? ''}'`)
  const headers = token === undefined ? {} : { authorization: `Bearer ${token}` }

  /**
   * Sends a request until it is answered by Headwater itself, with anything but 429 and 503.
   * @param {string} route such as `move`
   * @param {string} query
   * @param {RequestInit} [init]
   */
  const request = async (route, query, init = {}) => {
    let failure = ''
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      try {
        const response = await fetch(`${origin}/v1/${route}/${names}${query && `?${query}`}`, { headers, ...init })
        if (![429, 503].includes(response.status)) return response
        failure = `${response.status} ${await response.text()}`
        await pause(1_000 * Number(response.headers.get('retry-after') ?? 1))
      } catch (error) {
        failure = String(error instanceof Error ? (error.cause ?? error) : error)
        await pause(1_000)
      }
    }
    throw new Error(`gave up after ${ATTEMPTS} attempts. The last one failed: ${failure}`)
  }

  return {
    request,
    /**
     * Sends an order of an administrator. A refusal comes back as its problem.
     * @param {string} route
     * @param {string} query
     * @param {string} [body]
     * @returns {Promise<Answer>}
     */
    async order(route, query, body) {
      const init = body === undefined ? { method: 'POST' } : { method: 'POST', body }
      const response = await request(route, query, init)
      const text = await response.text()
      try {
        return { status: response.status, body: JSON.parse(text) }
      } catch {
        throw new Error(refusal(response.status, text))
      }
    },
  }
}

/**
 * What an answer says that is not the one wanted: Headwater's problem, or the text of another server.
 * @param {number} status
 * @param {string} text
 */
export function refusal(status, text) {
  const [, tag] = /"_tag":"(\w+)"/.exec(text) ?? []
  return tag === undefined
    ? `the answer ${status} is not one of Headwater: ${text.slice(0, 200)}`
    : `${status} ${tag}: ${JSON.parse(text).detail}`
}

/**
 * The body of an answer. Throws if it is a refusal.
 * @param {Answer} answer
 */
export function unlessRefused({ status, body }) {
  if (status !== 200) throw new Error(refusal(status, JSON.stringify(body)))
  return body
}

/**
 * Moves the store's log until it is at its new place.
 * @param {Store} store
 * @param {string} to
 */
export async function moveTo(store, to) {
  for (let isThere = false; ; ) {
    const { place, copied, head, done } = unlessRefused(await store.order('move', `to=${to}`))
    if (place !== to) console.log(`copied up to event ${copied} of ${head}`)
    else if (!isThere) console.log(`the log is at its new place now: ${to}. Deleting the old copy`)
    isThere = place === to
    if (done) return console.log('done')
  }
}
