// docs/troubleshooting.md and docs/http-api.md list every refusal of the Worker, and quote messages as the code has them.
import { expect, test } from 'vitest'
import { code, filesIn, read } from '../support/pages.ts'

const page = read('docs/troubleshooting.md')

/** `(status, "kind", "Tag", …)` of each problem; the status may be a variable. */
const problems = [
  ...['problem', 'sequencer/problems', 'batch']
    .map((name) => read(`core/src/${name}.rs`))
    .join('')
    .matchAll(/::new\(\s*(\w+),\s*"([a-z-]+)",\s*"(\w+)"/g),
].map(([, status = '', kind = '', tag = '']) => ({ status, kind, tag }))

test('troubleshooting.md has a row for every kind of problem, with status and tag', () => {
  expect(problems.length).toBeGreaterThan(20)
  const rows = new Map(
    [...page.matchAll(/^\| `([a-z-]+)` \| (\d{3}[^|]*)\|/gm)].map(([, kind = '', told = '']) => [kind, told]),
  )
  expect([...rows.keys()].sort()).toEqual([...new Set(problems.map(({ kind }) => kind))].sort())
  const untold = problems.filter(({ status, kind, tag }) => {
    const told = rows.get(kind) ?? ''
    return !told.includes(`\`${tag}\``) || (/^\d+$/.test(status) && !told.includes(status))
  })
  expect(untold).toEqual([])
})

test('http-api.md has every tag', () => {
  const table = read('docs/http-api.md').split('\n## Errors\n')[1]?.split('\n## ')[0] ?? ''
  expect(problems.filter(({ tag }) => !table.includes(`\`${tag}\``))).toEqual([])
})

test('troubleshooting.md quotes messages as the code has them', () => {
  const sources = ['client/src', 'src', 'core/src']
    .flatMap((folder) => filesIn(folder, /\.(ts|js|rs)$/))
    .map(read)
    .join('\n')
  const tables = [...page.matchAll(/^The (?:provider|Worker)'s messages,? in .*\n\n((?:\|.*\n)+)/gm)].map(
    ([, table = '']) => table,
  )
  expect(tables).toHaveLength(2)
  const quoted = tables.flatMap((table) => [...table.matchAll(/^\| (`.*?) \|/gm)].flatMap(([, cell]) => code(cell)))
  expect(quoted.length).toBeGreaterThan(25)
  // "…" replaces the varying part of a message
  const pieces = quoted
    .flatMap((text) => text.split(/…|<\w+>|4096/))
    .map((piece) => piece.trim())
    .filter((piece) => /[a-z]{3}/.test(piece))
  expect(pieces.filter((piece) => !sources.includes(piece))).toEqual([])
})
