/** Writing through the Worker, whose Sequencer accepts a repeated batch again. */
import { Effect } from 'effect'

import { BACKEND_ID_HEADER, type BackendId, noStore } from './backend-id.ts'
import type { Chunk } from './direct-core.ts'
import { toPushError } from './errors.ts'
import type { SendChunk } from './push.ts'
import type { Transport } from './transport.ts'

export interface WorkerPushDeps {
  readonly url: string
  readonly transport: Transport
  readonly backendId: BackendId
  readonly timeoutMs: number
}

export const makeWorkerPush =
  (deps: WorkerPushDeps): SendChunk =>
  (chunk) => {
    const knew = deps.backendId.remembered() !== undefined
    return send(deps, chunk).pipe(
      // Who remembers no backend can't be told that it was reset, and a Sequencer may not have heard of it yet. It looks
      // when asked; else LiveStore would wait for events that are gone.
      Effect.catchTag('ServerAheadError', (ahead) =>
        knew ? Effect.fail(ahead) : Effect.zipRight(lookAfresh(deps), send(deps, chunk)),
      ),
    )
  }

const lookAfresh = ({ url, transport, timeoutMs }: WorkerPushDeps) =>
  transport.request(url, { method: 'HEAD', ...noStore() }, timeoutMs).pipe(Effect.mapError(toPushError))

const send = ({ url, transport, backendId, timeoutMs }: WorkerPushDeps, { body }: Chunk) =>
  Effect.gen(function* () {
    const known = backendId.remembered()
    const headers = {
      'content-type': 'application/json',
      ...(known === undefined ? {} : { [BACKEND_ID_HEADER]: known }),
    }
    const answer = yield* transport
      .request(url, { method: 'POST', headers, body }, timeoutMs)
      .pipe(Effect.mapError(toPushError))
    // The first contact with a backend may well be a push.
    const answering = answer.headers.get(BACKEND_ID_HEADER)
    if (known === undefined && backendId.remembered() === undefined && answering !== null) {
      yield* backendId.learn(answering)
    }
  })
