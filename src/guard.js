// The entry: what worker-build makes of the Rust code, guarded against panics.
//
// A panic ends the Wasm module, and whatever it still had to answer in this isolate, for other stores too, would never be
// answered: a Sequencer may hang for ever as far as the runtime is concerned, and a caller that waits for one as well.
// The next call starts a new module, and each Sequencer from what it stored. So all that is missing is to tell the callers.
import Worker, { Sequencer as WasmSequencer } from 'wasm-module'

/** What the worker crate keeps of the module: which one it is, and whether it has panicked. */
const module = globalThis.__worker_init_state

/** How long it may take until a caller is told. */
const LOOK_MS = 250

class Panicked extends Error {}

/** Settles as `answer` does; fails if the module that owes it is no more. */
async function guarded(answer) {
  const own = module.instanceId
  let timer
  const end = new Promise((_, reject) => {
    const look = () => {
      if (module.criticalError || module.instanceId !== own) reject(new Panicked('the Wasm module panicked'))
      else timer = setTimeout(look, LOOK_MS)
    }
    timer = setTimeout(look, LOOK_MS)
  })
  try {
    return await Promise.race([answer, end])
  } finally {
    clearTimeout(timer)
  }
}

export class Sequencer extends WasmSequencer {
  fetch(request) {
    return guarded(super.fetch(request))
  }
}

export default class extends Worker {
  async fetch(request) {
    try {
      return await guarded(super.fetch(request))
    } catch (error) {
      if (error instanceof Panicked) return unavailable()
      throw error
    }
  }
}

/** As `Problem::unavailable`: whose fault it was is not known, nor what became of the request. */
function unavailable() {
  const problem = {
    type: 'urn:headwater:problem:upstream-unavailable',
    title: 'Service Unavailable',
    status: 503,
    detail: 'The Worker was restarted meanwhile. Nothing is lost: send the same again.',
    _tag: 'UnavailableError',
  }
  const headers = {
    'content-type': 'application/problem+json',
    'cache-control': 'no-store',
    'retry-after': '1',
    'x-content-type-options': 'nosniff',
    // It says nothing that any page may not read, and without this a browser would hide that it is worth another try.
    'access-control-allow-origin': '*',
    'access-control-expose-headers': 'retry-after',
  }
  return new Response(JSON.stringify(problem), { status: 503, headers })
}
