/** Finds the first message of a JSON array that arrives in pieces. It names the backend, so the rest need not be read. */

export type FirstMessage =
  | { readonly _tag: 'Incomplete' }
  | { readonly _tag: 'Empty' }
  | { readonly _tag: 'Found'; readonly message: unknown }
  | { readonly _tag: 'NotAnArray' }

export const firstMessage = (text: string): FirstMessage => {
  const start = text.search(/\S/)
  if (start < 0) return { _tag: 'Incomplete' }
  if (text[start] !== '[') return { _tag: 'NotAnArray' }
  const end = endOfFirst(text, start + 1)
  if (end === undefined) return { _tag: 'Incomplete' }
  const json = text.slice(start + 1, end).trim()
  if (json === '') return { _tag: 'Empty' }
  try {
    return { _tag: 'Found', message: JSON.parse(json) as unknown }
  } catch {
    return { _tag: 'NotAnArray' }
  }
}

/** The index of the comma or bracket behind the first element. */
const endOfFirst = (text: string, from: number): number | undefined => {
  let depth = 0
  let inString = false
  for (let i = from; i < text.length; i++) {
    const char = text[i]
    if (inString) {
      if (char === '\\') i++
      else if (char === '"') inString = false
    } else if (char === '"') inString = true
    else if (char === '{' || char === '[') depth++
    else if (depth === 0 && (char === ',' || char === ']')) return i
    else if (char === '}' || char === ']') depth--
  }
  return undefined
}
