// A store of a running Headwater, for the scripts of an administrator.
import { setTimeout as pause } from 'node:timers/promises'

/** How often a request is sent again that was answered 429 or 503, or not at all. */
const ATTEMPTS = 20

export const STORE_HELP = `  URL            the store's URL, such as http://127.0.0.1:8787/v1/stream/demo/my-store
  --token TEXT   a token with the scope admin, if the deployment asks for tokens (default: $HEADWATER_TOKEN)`

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
  if (origin === undefined) throw new Error(`'${url ?? ''}' is no store's URL`)
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
    throw new Error(`no answer after ${ATTEMPTS} attempts: ${failure}`)
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
      return { status: response.status, body: await response.json() }
    },
  }
}

/**
 * The body of an answer. Throws if it is a refusal.
 * @param {Answer} answer
 */
export function unlessRefused({ status, body }) {
  if (status !== 200) throw new Error(`${status} ${body._tag}: ${body.detail}`)
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
    if (place !== to) console.log(`copied ${copied} of ${head}`)
    else if (!isThere) console.log(`the log is at its new place: ${to}. Deleting it at the old one`)
    isThere = place === to
    if (done) return
  }
}
