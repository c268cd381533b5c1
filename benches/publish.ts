// Saves the figures in benches/results/, and publishes them in docs/.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { root } from '../scripts/lib/tools.mjs'

const RESULTS = join(root, 'benches/results')
const DOCS = join(root, 'docs')

export interface Publication {
  /** The name of the files. */
  readonly name: string
  readonly report: object
  readonly chart?: string
  /** The text that the terminal shows. */
  readonly text: string
}

export function save({ name, report, chart }: Publication): void {
  mkdirSync(RESULTS, { recursive: true })
  write(RESULTS, name, report, chart)
}

export function publish({ name, report, chart, text }: Publication): void {
  const published = name === 'latest' ? 'performance' : `performance-${name}`
  write(DOCS, published, report, chart)
  const page = join(DOCS, 'performance.md')
  const block = new RegExp(`(<!-- ${name} -->\n)[^]*?(<!-- /${name} -->)`)
  writeFileSync(
    page,
    readFileSync(page, 'utf8').replace(block, (_, begin, end) => `${begin}\`\`\`\n${text}\n\`\`\`\n${end}`),
  )
}

function write(folder: string, name: string, report: object, chart: string | undefined): void {
  writeFileSync(join(folder, `${name}.json`), `${JSON.stringify(report, null, 1)}\n`)
  if (chart !== undefined) writeFileSync(join(folder, `${name}.svg`), chart)
}
