// docs/configuration.md against the code. The code generates its tables of variables (core/tests/settings.rs).
import { expect, test } from 'vitest'
import { SETTINGS } from '../../scripts/lib/deployment.mjs'
import { code, filesIn, read, table } from '../support/pages.ts'

const page = read('docs/configuration.md')

test('configuration.md has every variable in one of its tables', () => {
  const documented = table(page, 'Variable').map(([name]) => code(name)[0])
  expect(documented).toEqual(SETTINGS.map(({ name }) => name))
})

test('only settings.rs reads variables', () => {
  const sources = filesIn('src', /\.rs$/).filter((file) => file !== 'src/settings.rs')
  const readers = sources.filter((file) => /\benv\s*\.(var|secret)\(|DeploymentVars\b.*\.get\(/.test(read(file)))
  expect(readers).toEqual([])
})

test('settings.rs reads every variable of the table', () => {
  const settings = read('src/settings.rs')
  const names = SETTINGS.map(({ name }) => name)
  expect(names.length).toBeGreaterThan(25)
  expect(names.filter((name) => !new RegExp(`table::${name}\\b`).test(settings))).toEqual([])
})

test('configuration.md has every binding', () => {
  const bindings = [...read('src/settings.rs').matchAll(/pub\(crate\) const [A-Z_]+_BINDING: &str = "([A-Z_]+)"/g)].map(
    ([, name]) => name,
  )
  expect(
    table(page, 'Binding')
      .map(([name]) => code(name)[0])
      .sort(),
  ).toEqual(bindings.sort())
})

test('the configuration of a self-hosted Worker has every setting', () => {
  const variables = [...read('selfhost/headwater.capnp').matchAll(/\(name = "(\w+)", fromEnvironment = "\1"\)/g)]
  expect(variables.map(([, name]) => name)).toEqual(SETTINGS.map(({ name }) => name))
})
