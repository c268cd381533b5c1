import { defineConfig } from 'vitest/config'
import { BaseSequencer, type TestSpecification } from 'vitest/node'

/** The slowest files, slowest first. They begin first, so that none of them runs alone at the end. */
const LONG = [
  'browser/todo',
  'chaos/chaos',
  'conformance/',
  'wire/lifecycle',
  'wire/foreign',
  'wire/segments',
  'livestore/identity',
  'livestore/wedge',
  'livestore/strangers',
  'livestore/server-side',
  'livestore/cli',
  'livestore/sync',
  'wire/history',
]

class LongFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification) => [...LONG, ''].findIndex((name) => moduleId.includes(name))
    return (await super.sort(files)).sort((a, b) => rank(a) - rank(b))
  }
}

// Each suite is a project, so that it can run alone: `npm run test:wire`.
const project = (name: string, include: string[], options: { runner?: string } = {}) => ({
  test: {
    name,
    include,
    pool: 'forks' as const,
    testTimeout: 30_000,
    // A Worker is ready within a second. The rest is for a machine that is busy with other test files.
    hookTimeout: 60_000,
    ...options,
  },
})

export default defineConfig({
  test: {
    // Every test file starts its own servers as processes. The Worker must be built before the first one.
    globalSetup: 'tests/harness/global-setup.ts',
    // Test files wait more than they work. Therefore four run at a time, also on a machine with two cores.
    maxWorkers: 4,
    minWorkers: 4,
    sequence: { sequencer: LongFirst },
    projects: [
      project('wire', ['tests/harness/**/*.test.ts', 'tests/wire/**/*.test.ts']),
      project('provider', ['client/**/*.test.ts', 'tests/provider/**/*.test.ts']),
      project('docs', ['tests/docs/**/*.test.ts']),
      project('deploy', ['tests/deploy/**/*.test.ts']),
      project('chaos', ['tests/chaos/**/*.test.ts']),
      project('livestore', ['tests/livestore/**/*.test.ts']),
      project('browser', ['tests/browser/**/*.test.ts']),
      project('conformance', ['tests/conformance/**/*.test.ts'], { runner: 'tests/conformance/runner.ts' }),
    ],
  },
})
