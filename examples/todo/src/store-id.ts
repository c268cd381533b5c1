// The id of the list: `?store=` in the address. Without it, the page chooses a random id.
const ADJECTIVES = [
  'amber',
  'brave',
  'calm',
  'clever',
  'early',
  'gentle',
  'happy',
  'quiet',
  'silver',
  'sunny',
  'swift',
  'wild',
]
const NOUNS = [
  'brook',
  'cloud',
  'falcon',
  'fern',
  'harbor',
  'heron',
  'maple',
  'meadow',
  'otter',
  'pebble',
  'river',
  'willow',
]

const pick = (words: readonly string[]) => words[Math.floor(Math.random() * words.length)]
const randomId = () => `${pick(ADJECTIVES)}-${pick(NOUNS)}-${1000 + Math.floor(Math.random() * 9000)}`

const address = new URL(location.href)
const given = address.searchParams.get('store') ?? ''

/** LiveStore allows letters, digits, `-` and `_`. */
export const storeId = /^[a-zA-Z0-9_-]{1,100}$/.test(given) ? given : randomId()

address.searchParams.set('store', storeId)
history.replaceState(null, '', address)

/** This list's address, for another window or device. */
export const link = () => location.href

/** The list's address at the other name of this computer: another origin with its own storage, like a second device. */
export const secondDevice = (): string | undefined => {
  const other = { localhost: '127.0.0.1', '127.0.0.1': 'localhost' }[location.hostname]
  return other && location.href.replace(location.hostname, other)
}
