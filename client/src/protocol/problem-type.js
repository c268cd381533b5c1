const PREFIX = 'urn:headwater:problem:'

/**
 * The `type` of a problem of this kind (docs/http-api.md, "Errors").
 *
 * @param {string} kind
 */
export const problemType = (kind) => `${PREFIX}${kind}`

/**
 * The kind of a problem, if Headwater made it.
 *
 * @param {unknown} type
 */
export const problemKind = (type) =>
  typeof type === 'string' && type.startsWith(PREFIX) ? type.slice(PREFIX.length) : undefined
