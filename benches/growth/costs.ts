// Measures the processor time and the storage that a push takes, and the size of the Worker.
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { workerSize } from '../../scripts/lib/size.mjs'
import { chain } from '../events.ts'
import { cpuMs } from '../processes.ts'
import { percentile, pushAccepted } from '../scenarios/scenario.ts'
import { bytesIn, type Figure, followed, withHeadwater } from './measure.ts'
import { readWal } from './transactions.ts'

/** `npm test` checks a budget of its own, which has grown since: scripts/lib/size.mjs. */
const MAX_KIB = 310

export async function costs(quick: boolean): Promise<Figure[]> {
  return withHeadwater(async ({ endpoint, processes }, folder) => {
    const figures: Figure[] = []
    const client = await followed(endpoint, 'costs')
    let head = 0
    const push = async (events: number) => {
      const took = await pushAccepted(client, chain(head, events))
      head += events
      return took
    }
    for (let i = 0; i < 100; i++) await push(1)
    const folders = { row: join(folder, 'objects'), log: join(folder, 'upstream') }
    for (const [events, pushes] of quick
      ? ([
          [1, 200],
          [100, 50],
        ] as const)
      : ([
          [1, 2_000],
          [100, 500],
        ] as const)) {
      const before = {
        worker: await cpuMs(processes['workerd']),
        upstream: await cpuMs(processes['upstream']),
        log: await bytesIn(folders.log),
      }
      for (let i = 0; i < pushes; i++) await push(events)
      const what = `push of ${events}`
      const target = events === 1 ? { target: 0.5 } : {}
      figures.push(
        {
          what: `workerd, processor time per ${what}`,
          value: ((await cpuMs(processes['workerd'])) - before.worker) / pushes,
          unit: 'ms',
          ...target,
        },
        {
          what: `upstream, processor time per ${what}`,
          value: ((await cpuMs(processes['upstream'])) - before.upstream) / pushes,
          unit: 'ms',
        },
        {
          what: `upstream, bytes on disk per ${what}`,
          value: ((await bytesIn(folders.log)) - before.log) / pushes,
          unit: 'B',
        },
      )
    }
    figures.push(await transactionsOf(push, folders.row))
    await client.close()
    figures.push({ what: 'Sequencer, bytes on disk after all pushes', value: await bytesIn(folders.row), unit: 'B' })
    return figures
  })
}

/** The transactions of a Sequencer for each push, while one follows the other. */
async function transactionsOf(push: (events: number) => Promise<number>, rows: string): Promise<Figure> {
  const pushes = 500
  // The rows of the pushes before are written
  await sleep(1_000)
  const before = await readWal(rows)
  for (let i = 0; i < pushes; i++) await push(1)
  await sleep(1_000)
  const after = await readWal(rows)
  if (after.salts !== before.salts && before.transactions > 0)
    throw new Error('the write-ahead log began again meanwhile')
  return {
    what: 'Sequencer, transactions per push of 1 in a burst',
    value: (after.transactions - before.transactions) / pushes,
    unit: '',
    target: 0.2,
  }
}

export async function weight(quick: boolean): Promise<Figure[]> {
  const starts: number[] = []
  const firsts: number[] = []
  for (let i = 0; i < (quick ? 2 : 10); i++) {
    const begin = performance.now()
    await withHeadwater(async ({ endpoint }) => {
      starts.push(performance.now() - begin)
      const asked = performance.now()
      await (await fetch(`${endpoint.workerUrl}/health`)).text()
      firsts.push(performance.now() - asked)
    })
  }
  return [
    { what: 'Wasm and its JavaScript, gzip', value: workerSize() / 1024, unit: 'KiB', target: MAX_KIB },
    { what: 'start of workerd and the upstream, p50', value: percentile(starts, 50), unit: 'ms' },
    { what: 'first answer of a new isolate, p50', value: percentile(firsts, 50), unit: 'ms' },
  ]
}
