// Moves the logs of stores between the upstream and the Durable Objects, as an administrator does, while all else goes on.
import { setTimeout as pause } from 'node:timers/promises'
import type { Random } from '../support/random.ts'
import type { Parts } from './parts.ts'
import type { Tally } from './tally.ts'

type Place = 'built-in' | 'upstream'

/** Moves one log after the other until `over`. `paths` are the paths of the stores. */
export async function moveNowAndThen(
  parts: Parts,
  random: Random,
  tally: Tally,
  paths: readonly string[],
  over: AbortSignal,
): Promise<void> {
  while (!over.aborted) {
    await pause(random.between(200, 1_500), undefined, { signal: over }).catch(() => {})
    const place = random.pick<Place>(['built-in', 'upstream'])
    if (await moveTo(parts, random.pick([...paths]), place, over)) tally.moves += 1
  }
}

/** Moves a log, for as long as that takes. Returns false if it was not done before `over`. */
export async function moveTo(
  { worker, upstream }: Parts,
  path: string,
  place: Place,
  over: AbortSignal,
): Promise<boolean> {
  while (!over.aborted) {
    const response = await fetch(`${worker.url}/v1/move/${path}?to=${place}`, { method: 'POST' }).catch(() => undefined)
    const answer = (await response?.json().catch(() => undefined)) as { done?: boolean; reason?: string } | undefined
    if (answer?.done === true) return true
    // The log is built in then, and what is at the upstream is of its earlier life: a late append, for example
    if (answer?.reason === 'went-on' || answer?.reason === 'taken')
      await fetch(`${upstream.url}/${path}`, { method: 'DELETE' }).catch(() => {})
    if (response?.status !== 200) await pause(100)
  }
  return false
}
