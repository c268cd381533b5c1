// The provider's imports run one way: a file knows its own folder and the layers before it.
import { join, normalize } from 'node:path'
import { expect, test } from 'vitest'
import { filesIn, read } from '../support/pages.ts'

/** From the bottom up. Parts of one layer do not know one another. `import()` counts as well: that is how `direct` is loaded. */
const LAYERS = [
  ['protocol'],
  ['http'],
  ['store'],
  ['socket'],
  ['reading', 'writing'],
  ['direct'],
  ['options.ts'],
  ['modes'],
  ['sync-backend.ts'],
  ['index.ts'],
]

const SRC = 'client/src'
const partOf = (file: string): string => file.slice(SRC.length + 1).split('/')[0] ?? ''
const layerOf = (file: string): number => LAYERS.findIndex((parts) => parts.includes(partOf(file)))

const files = filesIn(SRC, /\.(ts|js)$/)
const imports = files.flatMap((file) =>
  [...read(file).matchAll(/(?:from |import\()'(\.[^']+)'/g)].map(([, to = '']) => ({
    file,
    to: normalize(join(file, '..', to)),
  })),
)

test('every file of the provider belongs to a layer', () => {
  expect(files.filter((file) => layerOf(file) < 0)).toEqual([])
  expect(imports.length).toBeGreaterThan(files.length)
})

test('no import of the provider runs up', () => {
  const up = imports.filter(({ file, to }) => partOf(file) !== partOf(to) && layerOf(to) >= layerOf(file))
  expect(up.map(({ file, to }) => `${file} imports ${to}`)).toEqual([])
})

test('no files of the provider import one another in a circle', () => {
  const importsOf = new Map(files.map((file) => [file, imports.filter((one) => one.file === file).map(({ to }) => to)]))
  const circles: string[] = []
  const visit = (file: string, path: readonly string[]): void => {
    if (path.includes(file)) circles.push([...path.slice(path.indexOf(file)), file].join(' → '))
    else for (const to of importsOf.get(file) ?? []) visit(to, [...path, file])
  }
  for (const file of files) visit(file, [])
  expect(circles).toEqual([])
})
