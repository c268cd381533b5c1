import { defineConfig } from 'vitest/config'

// One project a part, so that each can be run alone: `npm run test:wire`.
const project = (name: string, include: string[]) => ({
  test: {
    name,
    include,
    pool: 'forks' as const,
    testTimeout: 30_000,
    // A Worker is ready in about 2 s; the rest is for a machine busy with other test files.
    hookTimeout: 60_000,
  },
})

export default defineConfig({
  test: {
    // Every test file starts its own servers, as processes: the Worker must be built before the first one.
    globalSetup: 'tests/harness/global-setup.ts',
    // Test files wait more than they work: two at a time, on a machine with two cores as well.
    maxWorkers: 2,
    projects: [
      project('wire', ['tests/harness/**/*.test.ts', 'tests/wire/**/*.test.ts']),
      project('provider', ['client/**/*.test.ts', 'tests/provider/**/*.test.ts']),
      project('chaos', ['tests/chaos/**/*.test.ts']),
      project('livestore', ['tests/livestore/**/*.test.ts']),
    ],
  },
})
