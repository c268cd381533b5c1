// The code map of docs/internals/architecture.md has every source file.
import { expect, test } from 'vitest'
import { code, filesIn, read } from './pages.ts'

const map = code(read('docs/internals/architecture.md').split('\n## Code map\n')[1]?.split('\n## ')[0])
const named = new Set(map.flatMap(expand))

test.each(['src', 'client/src'])('every file of %s is in the code map', (folder) => {
  // mod.rs and index.ts only say what is in their folder
  const missing = filesIn(folder, /\.(rs|js|ts)$/).filter((file) => !/(^|\/)(mod\.rs|index\.ts)$/.test(file))
    .filter((file) => !named.has(file) && !folders(file).some((one) => named.has(one)) && !isNamedAlone(file))
  expect(missing).toEqual([])
})

/** `a/{b,c}.rs` is two files. */
function expand(text: string): string[] {
  const [, before = '', names, after = ''] = text.match(/^(.*)\{(.*)\}(.*)$/) ?? []
  return names === undefined ? [text] : names.split(',').map((name) => `${before}${name}${after}`)
}

/** The folders of a file but the one of the whole table, as `src/edge/auth/`. */
function folders(file: string): string[] {
  const parts = file.split('/').slice(0, -1)
  const all = parts.map((_, i) => `${parts.slice(0, i + 1).join('/')}/`)
  return all.filter((one) => !['src/', 'client/', 'client/src/'].includes(one))
}

/** The provider's files have one folder, so that a name will do. */
function isNamedAlone(file: string): boolean {
  return file.startsWith('client/') && named.has(file.split('/').at(-1) ?? '')
}
