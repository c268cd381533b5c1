import { defineConfig } from 'vitest/config'
import { BaseSequencer, type TestSpecification } from 'vitest/node'

/** The files that take longest, longest first. They begin first: none of them is left to run alone at the end. */
const LONG = ['browser/todo', 'chaos/chaos', 'wire/segments', 'livestore/identity', 'livestore/wedge', 'livestore/sync', 'wire/history']

class LongFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification) => [...LONG, ''].findIndex((name) => moduleId.includes(name))
    return (await super.sort(files)).sort((a, b) => rank(a) - rank(b))
  }
}

// One project a part, so that each can be run alone: `npm run test:wire`.
const project = (name: string, include: string[], exclude: string[] = []) => ({
  test: {
    name,
    include,
    exclude,
    pool: 'forks' as const,
    testTimeout: 30_000,
    // A Worker is ready within a second; the rest is for a machine busy with other test files.
    hookTimeout: 60_000,
  },
})

/** What must not wait for a processor that other tests keep busy: after all others, one by one. */
const alone = (name: string, include: string[]) => {
  const { test } = project(name, include)
  return { test: { ...test, poolOptions: { forks: { singleFork: true } } } }
}

const CROWD = 'tests/wire/crowd.test.ts'

export default defineConfig({
  test: {
    // Every test file starts its own servers, as processes: the Worker must be built before the first one.
    globalSetup: 'tests/harness/global-setup.ts',
    // Test files wait more than they work: two at a time, on a machine with two cores as well.
    maxWorkers: 2,
    minWorkers: 2,
    sequence: { sequencer: LongFirst },
    projects: [
      project('wire', ['tests/harness/**/*.test.ts', 'tests/wire/**/*.test.ts'], [CROWD]),
      alone('wire-alone', [CROWD]),
      project('provider', ['client/**/*.test.ts', 'tests/provider/**/*.test.ts']),
      project('chaos', ['tests/chaos/**/*.test.ts']),
      project('livestore', ['tests/livestore/**/*.test.ts']),
      project('browser', ['tests/browser/**/*.test.ts']),
    ],
  },
})
