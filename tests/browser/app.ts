// The example app as in a deployment: built, and served as files.
import { runChild } from '../../scripts/lib/child.mjs'
import { launch, todoApp } from '../../scripts/lib/services.mjs'
import { vite } from '../../scripts/lib/tools.mjs'
import { freePort, makeFolder, removeFolder } from '../harness/index.ts'

export interface TodoApp {
  readonly url: string
  readonly stop: () => Promise<void>
}

/** `syncUrl`: the URL of the Worker. */
export const startTodoApp = async (syncUrl: string): Promise<TodoApp> => {
  const outDir = await makeFolder('todo')
  const service = todoApp({ port: await freePort(), syncUrl, outDir })
  const env = { ...service.env, NODE_ENV: 'production' } // vitest says 'test'
  await runChild({ ...service, name: 'vite build', args: [vite, 'build', '--outDir', outDir], env })
  const child = await launch(service)
  return {
    url: service.url,
    stop: async () => {
      await child.kill()
      await removeFolder(outDir)
    },
  }
}
