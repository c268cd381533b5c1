// Every link from a page to another page, or to a file, has a target.
import { existsSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { expect, test } from 'vitest'
import { root } from '../../scripts/lib/tools.mjs'
import { anchors, pages, prose, read } from '../support/pages.ts'

const links = (text: string) =>
  [...text.matchAll(/\]\(([^)\s]+)[^)]*\)/g), ...text.matchAll(/(?:src|srcset|href)="([^"]+)"/g)].map(
    ([, link = '']) => link,
  )

test('the search finds the pages', () => {
  expect(pages).toEqual(expect.arrayContaining(['README.md', join('docs', 'http-api.md'), join('client', 'README.md')]))
})

test.each(pages)('every link of %s has a target', (page) => {
  const broken: string[] = []
  for (const link of links(prose(read(page)))) {
    if (/^[a-z]+:/.test(link)) continue
    const [path = '', anchor] = link.split('#')
    const target = path === '' ? page : join(dirname(page), decodeURIComponent(path))
    if (!existsSync(join(root, target))) broken.push(link)
    else if (anchor !== undefined && statSync(join(root, target)).isFile() && !anchors(read(target)).has(anchor))
      broken.push(link)
  }
  expect(broken).toEqual([])
})
