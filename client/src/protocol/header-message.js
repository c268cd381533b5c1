/**
 * The first message of a stream names the backend (docs/http-api.md, "The header").
 *
 * @param {string} backendId
 */
export const headerMessage = (backendId) => ({ livestore: { backendId, version: 1 } })

/**
 * The body that creates a stream together with its header message.
 *
 * @param {string} backendId
 */
export const headerBody = (backendId) => JSON.stringify([headerMessage(backendId)])

/**
 * The backend id, if the message is a header.
 *
 * @param {unknown} message
 * @returns {string | undefined}
 */
export const backendIdIn = (message) => {
  if (!isRecord(message) || 'seqNum' in message) return undefined
  const header = message['livestore']
  return isRecord(header) && typeof header['backendId'] === 'string' ? header['backendId'] : undefined
}

/**
 * The backend id of a stream without a header (docs/http-api.md, "The header").
 *
 * @param {string} storePath as `storePath` makes it
 */
export const implicitBackendId = (storePath) => `path:${storePath}`

/** @type {(value: unknown) => value is Record<string, unknown>} */
const isRecord = (value) => typeof value === 'object' && value !== null
