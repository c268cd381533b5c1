// Several Workers on one upstream, each with Durable Objects of its own: replicas on servers of one's own, behind a proxy that
// routes wrongly.
import { connect, createServer } from 'node:net'
import { freePort, type Server, startWorker } from '../harness/index.ts'

/** Starts two Workers as one server. Each connection goes to one of them, whatever store it is for. A crash hits one of them. */
export async function startReplicas(options: { upstreamUrl: string; vars: Record<string, string> }): Promise<Server> {
  const replicas = [await startWorker(options), await startWorker(options)] as const
  let connections = 0
  let crashes = 0
  const router = createServer((client) => {
    const server = connect(replicas[connections++ % 2 === 0 ? 0 : 1].port, '127.0.0.1')
    for (const [one, other] of [
      [client, server],
      [server, client],
    ] as const) {
      one.pipe(other)
      one.on('error', () => other.destroy())
      one.on('close', () => other.destroy())
    }
  })
  const port = await freePort()
  await new Promise<void>((resolve) => router.listen(port, '127.0.0.1', resolve))
  const crashed = () => replicas[crashes % 2 === 0 ? 0 : 1]
  return {
    url: `http://127.0.0.1:${port}`,
    port,
    logs: () => replicas.map(({ logs }) => logs()).join('\n--- another Worker\n'),
    jsonLines: () => replicas.flatMap(({ jsonLines }) => jsonLines()),
    async stop() {
      router.close()
      for (const replica of replicas) await replica.stop()
    },
    kill: () => crashed().kill(),
    async restart() {
      await crashed().restart()
      crashes += 1
    },
    memory: async () => Math.max(...(await Promise.all(replicas.map(({ memory }) => memory())))),
  }
}
