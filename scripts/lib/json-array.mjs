// Cuts a JSON array into its elements while the bytes arrive. The bytes of each element stay as they are.

const [QUOTE, BACKSLASH, COMMA, OPEN, CLOSE, OPEN_OBJECT, CLOSE_OBJECT] = [...Buffer.from('"\\,[]{}')]

/**
 * The elements of a JSON array, without the white space around them.
 * @param {AsyncIterable<Uint8Array>} chunks
 * @returns {AsyncGenerator<string>}
 */
export async function* elements(chunks) {
  let depth = 0
  let inString = false
  let isEscaped = false
  /** @type {Uint8Array[]} */
  let held = []
  const element = (/** @type {Uint8Array} */ last) => {
    const text = Buffer.concat([...held, last])
      .toString()
      .trim()
    held = []
    return text
  }
  for await (const chunk of chunks) {
    let start = 0
    for (let at = 0; at < chunk.length; at++) {
      const byte = chunk[at]
      if (inString) {
        if (isEscaped) isEscaped = false
        else if (byte === BACKSLASH) isEscaped = true
        else if (byte === QUOTE) inString = false
      } else if (byte === QUOTE) {
        inString = true
      } else if (byte === OPEN || byte === OPEN_OBJECT) {
        depth += 1
        if (depth === 1) start = at + 1
      } else if (byte === CLOSE || byte === CLOSE_OBJECT || (byte === COMMA && depth === 1)) {
        if (byte !== COMMA) depth -= 1
        if (byte === COMMA || depth === 0) {
          const text = element(chunk.subarray(start, at))
          if (text !== '') yield text
          start = at + 1
        }
        if (depth === 0) return
      }
    }
    held.push(Uint8Array.from(chunk.subarray(start)))
  }
  throw new Error('the answer ended early')
}
