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
    // One file at a time: two wranglers that start at once may choose the same port for a socket of their own.
    fileParallelism: false,
    projects: [
      project('wire', ['tests/harness/**/*.test.ts', 'tests/wire/**/*.test.ts']),
      project('provider', ['client/**/*.test.ts', 'tests/provider/**/*.test.ts']),
      project('chaos', ['tests/chaos/**/*.test.ts']),
      project('livestore', ['tests/livestore/**/*.test.ts']),
      project('browser', ['tests/browser/**/*.test.ts']),
    ],
  },
})
