// Helpers to read the documentation's pages.
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { root } from '../../scripts/lib/tools.mjs'

/** Generated folders, by their names in .gitignore, and those that begin with a dot. */
const GENERATED = /^(\.|node_modules$|target$|dist$|build(-|$)|corpus$)/

const markdown = (folder: string): string[] =>
  readdirSync(join(root, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name)
    if (entry.isDirectory()) return GENERATED.test(entry.name) ? [] : markdown(path)
    return entry.name.endsWith('.md') ? [path] : []
  })

/** All pages, as paths from the root. */
export const pages = markdown('')

export const read = (page: string): string => readFileSync(join(root, page), 'utf8')

/** The files of a folder whose names match, as paths from the root. */
export const filesIn = (folder: string, ending: RegExp): string[] =>
  readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((file) => ending.test(file))
    .map((file) => join(folder, file))

/** A page without its code blocks and inline code. */
export const prose = (text: string): string => text.replaceAll(/^```.*?^```/gms, '').replaceAll(/`[^`\n]*`/g, '')

/** The anchors that GitHub derives from the headings. */
export const anchors = (text: string): Set<string> => {
  const seen = new Map<string, number>()
  const headings = text.replaceAll(/^```.*?^```/gms, '').matchAll(/^#{1,6} +(.+)$/gm)
  return new Set(
    [...headings].map(([, heading = '']) => {
      const plain = heading.replaceAll(/\[([^\]]*)\]\([^)]*\)/g, '$1').toLowerCase()
      const slug = plain
        .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
        .trim()
        .replaceAll(' ', '-')
      const times = seen.get(slug) ?? 0
      seen.set(slug, times + 1)
      return times === 0 ? slug : `${slug}-${times}`
    }),
  )
}

/** The rows, as cells, of all tables whose header begins with this cell. */
export const table = (text: string, first: string): string[][] => {
  const rows: string[][] = []
  let inside = false
  for (const line of text.split('\n')) {
    if (!line.startsWith('|')) inside = false
    else {
      const cells = line
        .split(/(?<!\\)\|/)
        .slice(1, -1)
        .map((cell) => cell.trim())
      if (cells[0] === first) inside = true
      else if (inside && !/^[-: ]+$/.test(cells[0] ?? '')) rows.push(cells)
    }
  }
  return rows
}

/** The inline code in a cell. */
export const code = (cell = ''): string[] => [...cell.matchAll(/`([^`]+)`/g)].map(([, text = '']) => text)
