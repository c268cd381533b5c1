// The layers of the code: the core depends on no runtime, and no module imports one from a higher layer.
import { execFileSync } from 'node:child_process'
import { expect, test } from 'vitest'
import { root, toolEnv } from '../../scripts/lib/tools.mjs'
import { filesIn, read } from '../support/pages.ts'

/** Lower layers come first. A module may import those before it. */
const LAYERS = {
  'core/src': [
    'event',
    'messages',
    'names',
    'timing',
    'budget',
    'problem',
    'log',
    'batch',
    'push_stats',
    'auth',
    'route',
    'headers',
    'request_log',
    'turns',
    'socket',
    'segments',
    'sequencer',
    'settings',
  ],
  src: [
    'isolate',
    'failpoints',
    'failure',
    'signature',
    'sql',
    'settings',
    'auth',
    'rate_limit',
    'request_log',
    'lease',
    'upstream',
    'log',
    'sequencer',
    'edge',
  ],
}

test.each(Object.entries(LAYERS))('no module of %s imports a higher one', (folder, layers) => {
  const upward = filesIn(folder, /\.rs$/).flatMap((file) => {
    const own =
      file
        .slice(folder.length + 1)
        .split('/')[0]
        ?.replace('.rs', '') ?? ''
    if (own === 'lib') return []
    const imported = [...read(file).matchAll(/\bcrate::(\w+)/g)].map(([, name = '']) => name)
    expect(layers).toContain(own)
    return imported
      .filter((name) => name !== own && layers.indexOf(name) > layers.indexOf(own))
      .map((name) => `${file} → ${name}`)
  })
  expect(upward).toEqual([])
})

test('the core depends on nothing of the Workers runtime', () => {
  const tree = execFileSync('cargo', ['tree', '-p', 'headwater-core', '-e', 'normal', '--prefix', 'none'], {
    cwd: root,
    env: toolEnv(),
    encoding: 'utf8',
  })
  const crates = tree.split('\n').map((line) => line.split(' ')[0])
  expect(crates).toContain('serde_json')
  expect(crates.filter((name) => /^(worker|js-sys|web-sys|wasm-bindgen)/.test(name ?? ''))).toEqual([])
})
