// The to-do app without its offline switch. The switch is a `fetch` of the app's own, and with one the provider opens no socket.
import { mergeConfig, type Plugin } from 'vite'
import config from '../../examples/todo/vite.config.ts'

const SWITCH = 'fetch: switchableFetch,'

const withoutSwitch = (): Plugin => ({
  name: 'without-switch',
  transform(code, id) {
    if (!id.endsWith('/src/livestore.worker.ts')) return undefined
    if (!code.includes(SWITCH)) throw new Error(`the app's leader has no '${SWITCH}'`)
    return code.replace(SWITCH, '')
  },
})

export default mergeConfig(config, { worker: { plugins: () => [withoutSwitch()] } })
