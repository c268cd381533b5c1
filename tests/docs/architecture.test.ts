// docs/internals/architecture.md: its code map has every source folder, and each path that it names exists.
// The same holds for the paths in the column "Kept by" of docs/reliability.md.
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { root } from '../../scripts/lib/tools.mjs'
import { code, read, table } from '../support/pages.ts'

const page = read('docs/internals/architecture.md')
const map = code(page.split('\n## Code map\n')[1]?.split('\n## ')[0])
const named = new Set(map.map((path) => path.replace(/\/$/, '')))

const SOURCES = ['src', 'core/src', 'client/src']

const exists = (path: string) => existsSync(join(root, path))

test.each(SOURCES)('the code map has every folder of %s', (source) => {
  const missing = [source, ...foldersIn(source)].filter((folder) => !covering(folder).some((one) => named.has(one)))
  expect(missing).toEqual([])
})

test('every path on the page exists', () => {
  const paths = code(page.replaceAll(/^```.*?^```/gms, '')).filter(isPath)
  expect(paths.length).toBeGreaterThan(20)
  expect(paths.filter((path) => !exists(path))).toEqual([])
})

test('every promise names the file that keeps it', () => {
  const keepers = table(read('docs/reliability.md'), 'Promise').map(([, kept]) => code(kept).filter(isPath))
  expect(keepers.length).toBeGreaterThan(30)
  expect(keepers.filter((paths) => paths.length === 0)).toEqual([])
  expect(keepers.flat().filter((path) => !exists(path))).toEqual([])
})

function foldersIn(folder: string): string[] {
  const entries = readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
  return entries
    .filter((entry) => entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name).slice(root.length).replace(/^\//, ''))
}

/** The folder and those above it, without the source's own folder, which stands only for itself. */
function covering(folder: string): string[] {
  if (SOURCES.includes(folder)) return [folder]
  const parts = folder.split('/')
  const above = parts.map((_, i) => parts.slice(0, i + 1).join('/'))
  return above.filter((one) => SOURCES.some((source) => one.startsWith(`${source}/`)))
}

/** A path from the root, such as `core/src/log/`. */
function isPath(text: string): boolean {
  return /^(src|core|client|spec|tests|scripts|benches|fuzz|examples|inspector|selfhost|deploy)\/[\w./-]*$/.test(text)
}
