// Draws the figures as one SVG for the docs: one panel per scenario and one bar per system. Every scale begins at 0.
import { figure, type Report } from './report.ts'
import { SCENARIOS } from './scenarios/index.ts'
import { spread } from './spread.ts'
import { SYSTEMS, type SystemId } from './systems/model.ts'

const WIDTH = 940
const COLUMNS = 2
const GAP = 28
const PANEL = (WIDTH - GAP * (COLUMNS + 1)) / COLUMNS
const LABEL = 128
const BAR = 18
const HEAD = 44
/** A bar is cut if its value is more than this many times the smallest. */
const CUT_ABOVE = 50

const STYLE = `
  text { font: 12px system-ui, sans-serif; fill: #1f2328 }
  .title { font-weight: 600; font-size: 13px }
  .metric, .none { fill: #59636e }
  .ours { fill: #0b6bcb } .rival { fill: #b4bcc6 } .floor { fill: #7d8793 }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc } .metric, .none { fill: #9198a1 }
    .ours { fill: #4493f8 } .rival { fill: #4a525c } .floor { fill: #6e7681 }
  }`

export function chart(report: Report): string {
  const panels = SCENARIOS.filter(({ id }) => id in report.scenarios).map((scenario) => {
    const results = report.scenarios[scenario.id] ?? {}
    const [metric] = scenario.metrics
    const bars = (Object.keys(results) as SystemId[]).map((system) => ({
      system,
      value: metric && spread(results[system], metric.key)?.median,
    }))
    return { title: `(${scenario.id}) ${scenario.title(report.quick)}`, metric, bars, height: HEAD + bars.length * BAR }
  })
  const bottoms: number[] = Array.from({ length: COLUMNS }, () => GAP)
  const drawn = panels.map(({ title, metric, bars, height }) => {
    const column = bottoms.indexOf(Math.min(...bottoms))
    const top = bottoms[column] ?? GAP
    bottoms[column] = top + height + GAP
    const values = bars.flatMap(({ value }) => value ?? [])
    // One system that is far slower would make the bars of all others too short to see
    const most = Math.max(
      ...values.filter((value) => metric?.better === 'more' || value <= CUT_ABOVE * Math.min(...values)),
    )
    const rows = bars.map(({ system, value }, i) => {
      const y = HEAD + i * BAR
      const room = PANEL - LABEL - 60
      const width = value === undefined ? 0 : Math.min(room, Math.max(1, (value / most) * room))
      const text =
        value === undefined
          ? `<text class="none" x="${LABEL}" y="${y + 10}">not done</text>`
          : `<text x="${(LABEL + width + 6).toFixed(1)}" y="${y + 10}">${figure(value)}${value > most ? ' (cut)' : ''}</text>`
      return `<text x="${LABEL - 8}" y="${y + 10}" text-anchor="end">${escapeXml(SYSTEMS[system].title)}</text><rect class="${SYSTEMS[system].role}" x="${LABEL}" y="${y}" width="${width.toFixed(1)}" height="12" rx="2"/>${text}`
    })
    const better = metric?.better === 'more' ? 'more is better' : 'less is better'
    return `<g transform="translate(${GAP + column * (PANEL + GAP)} ${top})"><text class="title" y="12">${escapeXml(title)}</text><text class="metric" y="29">${escapeXml(metric?.title ?? '')} — ${better}</text>${rows.join('')}</g>`
  })
  const height = Math.max(...bottoms)
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img" aria-label="Headwater and other sync backends, measured side by side"><style>${STYLE}\n</style>\n${drawn.join('\n')}\n</svg>\n`
}

const escapeXml = (text: string): string => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;')
