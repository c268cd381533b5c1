// Marks the tests that do not apply to Headwater. Each of them runs, and must fail.
import type { File, Task, Test } from '@vitest/runner'
import { VitestTestRunner } from 'vitest/runners'
import { NOT_APPLYING } from './not-applying.ts'

declare module '@vitest/runner' {
  interface TaskMeta {
    /** Why the test does not apply. */
    notApplying?: string
  }
}

export default class extends VitestTestRunner {
  onCollected(files: File[]): void {
    for (const upstream of files.flatMap((file) => file.tasks)) {
      const tests = new Map(testsIn(upstream))
      for (const { reason, only, names } of NOT_APPLYING) {
        if (only !== undefined && only !== upstream.name) continue
        for (const name of names) {
          const test = tests.get(name)
          if (test === undefined) throw new Error(`not-applying.ts has a test that is not in the suite: ${name}`)
          test.fails = true
          test.meta.notApplying = reason
        }
      }
    }
  }

  override onAfterRunTask(task: Task): void {
    super.onAfterRunTask?.(task)
    const { notApplying } = task.meta
    if (notApplying === undefined || task.result?.state !== 'fail') return
    const message = `The test passes. Remove it from tests/conformance/not-applying.ts, where its reason is: ${notApplying}`
    task.result.errors = [{ name: 'Error', message }]
  }
}

/** Each test by its name, with the names of the groups around it. */
function testsIn(task: Task, around: readonly string[] = []): [string, Test][] {
  if (task.type === 'test') return [[[...around, task.name].join(' > '), task]]
  const names = task.suite === undefined ? [] : [...around, task.name]
  return task.tasks.flatMap((inner) => testsIn(inner, names))
}
