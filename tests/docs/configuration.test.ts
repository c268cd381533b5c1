// docs/configuration.md against the code: the same settings, the same defaults.
import { expect, test } from 'vitest'
import { UNLISTED, wranglerConfig } from '../../scripts/lib/deployment.mjs'
import { code, filesIn, read, table } from './pages.ts'

const page = read('docs/configuration.md')
const documented = new Map(table(page, 'Variable').map(([name, value]) => [code(name)[0] ?? '', code(value)[0]]))
const settings = read('src/settings.rs')

/** Names that the Worker looks up: `text(env, "NAME")` and its like, and the three claims. */
const lookedUp = () => {
  const names = [...settings.matchAll(/\b(?:text|number|list)\(\s*env,\s*"([A-Z_]+)"/g)].map(([, name = '']) => name)
  const claims = [...settings.matchAll(/claim\("([A-Z]+)"\)/g)].flatMap(([, what]) => [`JWT_${what}`, `JWT_${what}_CLAIM`])
  return new Set([...names, ...claims])
}

test('it has every variable that the Worker reads, and no other', () => {
  expect([...documented.keys()].sort()).toEqual([...lookedUp()].sort())
})

test('nothing but settings.rs reads variables', () => {
  const sources = filesIn('src', /\.rs$/).filter((file) => file !== 'src/settings.rs')
  const readers = sources.filter((file) => /\benv\s*\.(var|secret)\(/.test(read(file)))
  expect(readers).toEqual([])
})

test('the defaults are those of the code', () => {
  const numbers = [...settings.matchAll(/number\(\s*env,\s*"([A-Z_]+)",\s*([\w <]+)\)/g)].map(([, name = '', value = '']) => [name, evaluate(value)])
  expect(numbers.length).toBeGreaterThanOrEqual(10)
  expect(numbers.map(([name]) => [name, documented.get(name!)])).toEqual(numbers)
})

test('wrangler.toml sets nothing else, and nothing to another value than the default', async () => {
  const vars = (await wranglerConfig()).vars as Record<string, string>
  expect([...documented.keys()]).toEqual(expect.arrayContaining(Object.keys(vars)))
  const others = Object.entries(vars).filter(([name, value]) => name !== 'UPSTREAM_URL' && documented.get(name) !== value)
  expect(others).toEqual([])
})

test('a server of one\'s own is given every variable', async () => {
  const vars = Object.keys((await wranglerConfig()).vars)
  expect([...vars, ...UNLISTED].sort()).toEqual([...documented.keys()].sort())
})

test('it has every binding', () => {
  const bindings = [...settings.matchAll(/pub const [A-Z_]+_BINDING: &str = "([A-Z_]+)"/g)].map(([, name]) => name)
  expect(table(page, 'Binding').map(([name]) => code(name)[0]).sort()).toEqual(bindings.sort())
})

/** A number of Rust's, a shift of one, or a constant of the sources. */
function evaluate(value: string): string {
  const [base = '', shift] = value.split('<<').map((part) => part.trim())
  const constant = /^[A-Z_]+$/.test(base) ? new RegExp(`const ${base}: \\w+ = ([\\d_]+);`) : undefined
  const sources = constant === undefined ? [] : [settings, read('core/src/names.rs')]
  const found = constant === undefined ? base : sources.map((source) => source.match(constant)?.[1]).find((one) => one !== undefined)
  return String(Number((found ?? '').replaceAll('_', '')) * 2 ** Number(shift ?? 0))
}
