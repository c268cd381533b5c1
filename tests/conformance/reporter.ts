// Prints how many tests of the protocol's suite pass, do not apply, and fail.
import type { Reporter, TestCase, TestModule } from 'vitest/node'

export default class implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    for (const module of modules.filter(({ project }) => project.name === 'conformance')) {
      const counts = { passed: 0, 'not applying': 0, failing: 0 }
      for (const test of module.children.allTests()) {
        const kind = kindOf(test)
        if (kind !== undefined) counts[kind] += 1
      }
      const words = Object.entries(counts).map(([kind, count]) => `${count} ${kind}`)
      console.log(`conformance, ${module.children.at(0)?.name}: ${words.join(', ')}`)
    }
  }
}

function kindOf(test: TestCase): 'passed' | 'not applying' | 'failing' | undefined {
  const { state } = test.result()
  if (state === 'failed') return 'failing'
  if (state !== 'passed') return undefined
  return test.meta().notApplying === undefined ? 'passed' : 'not applying'
}
