// The entry: hands requests to the Rust module, and answers callers when the module has panicked.
//
// A panic, a trap or an unexpected exception ends the Wasm module. The module then leaves every open call of its isolate
// without an answer, calls for other stores too. The runtime would let a Sequencer and its callers wait forever.
// Therefore the entry fails those calls. The next call starts a new module, and each Sequencer starts from its rows.
import { DurableObject, WorkerEntrypoint } from 'cloudflare:workers'
import * as rust from 'wasm-module'

/** State of the worker crate: the number of the running module, from 1, and whether the module has panicked. */
const module = rust.__worker_init_state()

/** The number of the module that takes calls. */
let current = module.instanceId

/** How often a waiting call checks its module. */
const CHECK_MS = 250

class Panicked extends Error {}

/** Whether the module with this number has ended. */
function hasEnded(instanceId) {
  // Any call would do: after an end without a panic, wasm-bindgen starts the next module now.
  rust.__worker_init_state()
  return module.criticalError || module.instanceId !== instanceId
}

/** Settles as `call` does. Fails if the module that owes the answer has ended. */
async function guarded(call) {
  if (hasEnded(current)) {
    // Reset even if wasm-bindgen restarted: stale promises may have resolved into the new instance.
    rust.__wbg_reset_state()
    module.criticalError = false
    current = module.instanceId
  }
  const own = current
  let timer
  const end = new Promise((_, reject) => {
    const check = () => {
      if (hasEnded(own)) reject()
      else timer = setTimeout(check, CHECK_MS)
    }
    timer = setTimeout(check, CHECK_MS)
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
    return this.#guarded((sequencer) => sequencer.fetch(request))
  }

  alarm() {
    return this.#guarded((sequencer) => sequencer.alarm())
  }

  webSocketMessage(socket, message) {
    return this.#guarded((sequencer) => sequencer.webSocketMessage(socket, message))
  }

  webSocketClose(socket, code, reason, wasClean) {
    return this.#guarded((sequencer) => sequencer.webSocketClose(socket, code, reason, wasClean))
  }

  webSocketError(socket, error) {
    return this.#guarded((sequencer) => sequencer.webSocketError(socket, error))
  }

  async #guarded(call) {
    try {
      return await guarded(() => {
        if (this.#instanceId !== current) {
          this.#sequencer = new rust.Sequencer(this.ctx, this.env)
          this.#instanceId = current
        }
        return call(this.#sequencer)
      })
    } catch (error) {
      if (error instanceof Panicked) this.#closeSockets()
      throw error
    }
  }

  /** A push may have landed that no socket was told of. The clients connect again, and catch up. */
  #closeSockets() {
    for (const socket of this.ctx.getWebSockets()) {
      try {
        // A client need not wait for the end of the closing handshake.
        socket.send(BYE)
        socket.close(RESTARTED, 'restarted')
      } catch {
        // The client has left.
      }
    }
  }
}

/** The frame of `Bye::Restarted`: binary, as every frame. */
const BYE = new TextEncoder().encode('{"bye":{"reason":"restarted","detail":"The Worker was restarted."}}')

/** `Bye::Restarted`, the code of a service that starts again (RFC 6455, IANA's registry). */
const RESTARTED = 1012

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

/** How much of a refused body is read, and for how long. */
const DRAINED_BYTES = 16 << 20
const DRAINED_MS = 5_000
const DRAINED_AT_ONCE_BYTES = 32 << 10
/** How many bodies are drained at the same time: they hold 4 MiB of the isolate. Further ones are not drained. */
const DRAINS = 128
let drains = 0

/**
 * Reads a body that was refused unread. The runtime closes the connection of a client that still writes. Many clients
 * write everything before they read. They would see a broken connection instead of the refusal.
 */
async function drain({ body, bodyUsed }) {
  if (body === null || bodyUsed || drains >= DRAINS) return
  drains += 1
  const reader = body.getReader({ mode: 'byob' })
  const timer = setTimeout(() => reader.cancel().catch(() => {}), DRAINED_MS)
  try {
    // A single buffer for the whole body: a flood of refused pushes must not cost memory.
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
    drains -= 1
  }
}

/** The answer of `Problem::unavailable`, because the outcome of the request is unknown. */
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
    // Any page may read this answer. Without the header a browser would hide that a retry helps.
    'access-control-allow-origin': '*',
    'access-control-expose-headers': 'livestore-problem, retry-after',
  }
  return new Response(JSON.stringify(problem), { status: 503, headers })
}
