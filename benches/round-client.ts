// Runs one round of one scenario on one system, in a process of its own. The argument is the job. The figures go to the
// parent process.
import { open } from './client.ts'
import { chain } from './events.ts'
import { SCENARIOS } from './scenarios/index.ts'
import { pushAccepted } from './scenarios/scenario.ts'
import type { Endpoint, Processes } from './systems/model.ts'

export type Job = { readonly endpoint: Endpoint; readonly quick: boolean } & (
  | { readonly scenario: string; readonly processes: Processes }
  /** Only fills stores, with pushes. */
  | { readonly fill: Readonly<Record<string, number>> }
)

export interface Outcome {
  readonly figures: Readonly<Record<string, number>>
  readonly problems: readonly string[]
}

process.once('disconnect', () => process.exit(1))
const job = JSON.parse(process.argv[2] ?? '') as Job
const problems: string[] = []
const figures = 'fill' in job ? await fill(job) : await measure(job)
process.send?.({ figures, problems } satisfies Outcome, () => process.exit(0))

async function measure({ scenario, endpoint, processes, quick }: Extract<Job, { scenario: string }>) {
  const chosen = SCENARIOS.find(({ id }) => id === scenario)
  if (chosen === undefined) throw new Error(`unknown scenario ${scenario}`)
  const problem = (what: string) => void problems.push(what)
  return chosen.run({
    endpoint,
    processes,
    quick,
    open: (storeId, fetch) => open(endpoint, storeId, fetch),
    problem,
  })
}

async function fill({ fill, endpoint }: Extract<Job, { fill: object }>) {
  for (const [storeId, events] of Object.entries(fill)) {
    const client = await open(endpoint, storeId)
    for (let head = 0; head < events; head += 100) await pushAccepted(client, chain(head, Math.min(100, events - head)))
    await client.close()
  }
  return {}
}
