import type { Problem } from '../../client/src/index.ts'

/** The sync status that an app would show. */
export interface Badge {
  readonly options: { readonly onProblem: (problem: Problem | undefined) => void }
  /** All reported problems, in order; undefined when all was well again. */
  readonly told: readonly (Problem | undefined)[]
  readonly shows: () => Problem | undefined
}

export const makeBadge = (): Badge => {
  const told: (Problem | undefined)[] = []
  return { options: { onProblem: (problem) => void told.push(problem) }, told, shows: () => told.at(-1) }
}
