// (f5000) Thousands of readers of one store, which wait and then all receive what is pushed. A provider for each would say
// more about the client than about the server. Therefore each reader is a plain WebSocket (docs/http-api.md, "The socket").
import { parseFrame, SUBPROTOCOL } from '../../client/src/socket/frame.ts'
import { chain } from '../events.ts'
import { maxDescriptors, residentMiB } from '../processes.ts'
import { count, ms, percentile, pushAccepted, type Round, type Scenario, seconds, until, verify } from './scenario.ts'

const STORE = 'many-readers'
const PARALLEL_STARTS = 100
/** workerd has two descriptors open for each socket, and some for itself. */
const DESCRIPTORS_EACH = 2
const SPARE_DESCRIPTORS = 500
/** The runtime lets an object hibernate after 10 s. */
const IDLE_MS = 15_000
const TIMEOUT_MS = 30_000

export const manyReaders: Scenario = {
  id: 'f5000',
  title: (quick) => `${quick ? 'a few hundred' : '10,000'} plain sockets of one store`,
  metrics: [
    count('memory', 'workerd, KiB per idle socket'),
    count('readers'),
    count('missed', 'deliveries missed'),
    count('awake', 'KiB before hibernation'),
    ms('wake', 'push that wakes'),
    ms('last', 'last reader, p50'),
    seconds('connected', 'all connected after'),
  ],
  exclusion: (system) => (system === 'headwater' ? undefined : 'has no such sockets'),
  rounds: (_, asked) => Math.min(asked, 3),
  async run(round) {
    const descriptors = await maxDescriptors()
    const most = Math.floor((descriptors - SPARE_DESCRIPTORS) / DESCRIPTORS_EACH)
    const size = Math.min(round.quick ? 300 : 10_000, most)
    if (!round.quick && size < 5_000)
      round.problem(`only ${size} readers: a process may open ${descriptors} descriptors (ulimit -Hn)`)
    const pushes = round.quick ? 3 : 10
    const workerd = () => residentMiB(round.processes['workerd'])

    let head = 0
    const first = await round.open(STORE)
    for (; head < 50; head++) await pushAccepted(first, chain(head, 1))
    await first.close()
    await warmUp(round, head)
    const before = await workerd()

    const start = performance.now()
    const readers: Reader[] = []
    while (readers.length < size) {
      const batch = Array.from({ length: Math.min(PARALLEL_STARTS, size - readers.length) }, () => follow(round, head))
      readers.push(...(await Promise.all(batch)))
    }
    const connected = (performance.now() - start) / 1_000
    const kibEach = async () => (((await workerd()) - before) * 1024) / size
    const awake = await kibEach()
    await new Promise((resolve) => setTimeout(resolve, round.quick ? 1_000 : IDLE_MS))
    const memory = await kibEach()

    const everyoneHas = (seqNum: number) => () => readers.every((reader) => reader.head >= seqNum)
    const writer = await round.open(STORE)
    const wake = await pushAccepted(writer, chain(head++, 1))
    await until(everyoneHas(head), TIMEOUT_MS)
    const last: number[] = []
    for (let i = 0; i < pushes; i++) {
      const sent = performance.now()
      await pushAccepted(writer, chain(head++, 1))
      if (await until(everyoneHas(head), TIMEOUT_MS)) last.push(Math.max(...readers.map(({ at }) => at)) - sent)
    }
    const expected = (1 + pushes) * size
    const missed = expected - readers.reduce((sum, { received }) => sum + received, 0)
    const broken = readers.find(({ ended }) => ended !== undefined)?.ended
    if (broken !== undefined) round.problem(`a reader's socket ended: ${broken}`)
    for (const { socket } of readers) socket.close()
    await writer.close()
    await verify(round, STORE, head)
    return { readers: size, missed, memory, awake, wake, last: percentile(last, 50), connected }
  },
}

interface Reader {
  readonly socket: WebSocket
  head: number
  /** The events that followed the last one. */
  received: number
  /** When the last one arrived. */
  at: number
  ended: string | undefined
}

/** Opens a socket, and waits for its greeting. */
function follow({ endpoint }: Round, head: number): Promise<Reader> {
  const url = `${endpoint.workerUrl.replace('http', 'ws')}/v1/stream/default/${STORE}?live=websocket`
  const socket = new WebSocket(url, SUBPROTOCOL)
  socket.binaryType = 'arraybuffer'
  const reader: Reader = { socket, head, received: 0, at: 0, ended: undefined }
  return new Promise((resolve, reject) => {
    socket.onclose = ({ code, reason }) => {
      reader.ended = `${code} ${reason}`
      reject(new Error(`a reader's socket did not open: ${reader.ended}`))
    }
    socket.onmessage = ({ data }) => {
      const frame = parseFrame(typeof data === 'string' ? data : decoder.decode(data))
      if (frame._tag === 'Hello') {
        if (frame.hello.head === head) resolve(reader)
        else reject(new Error(`a reader was greeted with the head ${frame.hello.head} instead of ${head}`))
      }
      if (frame._tag !== 'Events' || frame.parent !== reader.head) return
      reader.head = frame.head
      reader.received += frame.messages.length
      reader.at = performance.now()
    }
  })
}

/** The first sockets cost the Worker more than the others: its code is compiled. */
async function warmUp(round: Round, head: number): Promise<void> {
  const readers = await Promise.all(Array.from({ length: 20 }, () => follow(round, head)))
  for (const { socket } of readers) socket.close()
  await until(() => readers.every(({ ended }) => ended !== undefined), TIMEOUT_MS)
}

const decoder = new TextDecoder()
