// The entry: hands requests to the Rust code, and tells those who wait when it has panicked.
//
// A panic (or a trap, or an exception that nobody expected) ends the Wasm module, and whatever it still had to answer in
// this isolate, for other stores too, would never be answered: a Sequencer may hang for ever as far as the runtime is
// concerned, and a caller that waits for one as well. So the callers are told, and the next call starts a new module, and
// each Sequencer from what it stored.
import { DurableObject, WorkerEntrypoint } from 'cloudflare:workers'
import * as rust from 'wasm-module'

/** Kept by the worker crate: which module runs, counted from 1, and whether it has panicked. */
const module = rust.__worker_init_state()

/** The module that calls go to. */
let current = module.instanceId

/** How long it may take until a caller is told. */
const LOOK_MS = 250

class Panicked extends Error {}

/** Whether the module with this number is no more. */
function hasEnded(instanceId) {
  // Any call of it would do: where it ended in another way than by a panic, wasm-bindgen starts the next one now.
  rust.__worker_init_state()
  return module.criticalError || module.instanceId !== instanceId
}

/** Settles as the answer to `call` does; fails if the module that owes it is no more. */
async function guarded(call) {
  if (hasEnded(current)) {
    // Anew even where wasm-bindgen did: what the old one still waited for may have been told to its successor.
    rust.__wbg_reset_state()
    module.criticalError = false
    current = module.instanceId
  }
  const own = current
  let timer
  const end = new Promise((_, reject) => {
    const look = () => {
      if (hasEnded(own)) reject()
      else timer = setTimeout(look, LOOK_MS)
    }
    timer = setTimeout(look, LOOK_MS)
  })
  try {
    return await Promise.race([call(), end])
  } catch (error) {
    throw hasEnded(own) ? new Panicked('the Wasm module panicked') : error
  } finally {
    clearTimeout(timer)
  }
}

export class Sequencer extends DurableObject {
  #sequencer
  #instanceId

  fetch(request) {
    return guarded(() => {
      if (this.#instanceId !== current) {
        this.#sequencer = new rust.Sequencer(this.ctx, this.env)
        this.#instanceId = current
      }
      return this.#sequencer.fetch(request)
    })
  }
}

export default class extends WorkerEntrypoint {
  async fetch(request) {
    const response = await answer(request, this.env, this.ctx)
    await drain(request)
    return response
  }
}

async function answer(request, env, ctx) {
  try {
    return await guarded(() => rust.fetch(request, env, ctx))
  } catch (error) {
    if (error instanceof Panicked) return unavailable()
    throw error
  }
}

/** What is read of a body that nobody wants, and for how long. */
const DRAINED_BYTES = 16 << 20
const DRAINED_MS = 5_000
const DRAINED_AT_ONCE_BYTES = 64 << 10

/**
 * Reads a body that was refused unread. The runtime closes the connection of a client that still writes, and many clients
 * write all before they read: they would see a broken connection instead of why they are refused.
 */
async function drain({ body, bodyUsed }) {
  if (body === null || bodyUsed) return
  const reader = body.getReader({ mode: 'byob' })
  const timer = setTimeout(() => reader.cancel().catch(() => {}), DRAINED_MS)
  try {
    // One buffer for all of it: a flood of refused pushes is to cost no memory.
    let buffer = new ArrayBuffer(DRAINED_AT_ONCE_BYTES)
    for (let bytes = 0; bytes < DRAINED_BYTES; ) {
      const { done, value } = await reader.readAtLeast(buffer.byteLength, new Uint8Array(buffer))
      if (done) return
      bytes += value.byteLength
      buffer = value.buffer
    }
  } catch {
    // The client has left.
  } finally {
    clearTimeout(timer)
  }
}

/** As `Problem::unavailable`: whose fault it was is not known, nor what became of the request. */
function unavailable() {
  const problem = {
    type: 'urn:headwater:problem:upstream-unavailable',
    title: 'Service Unavailable',
    status: 503,
    detail: 'The Worker was restarted before it answered. Nothing is lost: send the same request again.',
    _tag: 'UnavailableError',
  }
  const headers = {
    'content-type': 'application/problem+json',
    'livestore-problem': 'upstream-unavailable',
    'cache-control': 'no-store',
    'retry-after': '1',
    'x-content-type-options': 'nosniff',
    // It says nothing that any page may not read, and without this a browser would hide that it is worth another try.
    'access-control-allow-origin': '*',
    'access-control-expose-headers': 'livestore-problem, retry-after',
  }
  return new Response(JSON.stringify(problem), { status: 503, headers })
}
