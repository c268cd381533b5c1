// Alone on the machine (vitest.config.ts): who waits too long for another's reading of the log reads it too.
import { expect, test } from 'vitest'
import { filled, range, seqs, SIZE, walk } from './pages.ts'
import { useParts } from './support.ts'

const parts = useParts(undefined, SIZE)

test('many who miss the same history at once cost the upstream hardly more than one', async () => {
  const { store } = await filled(parts, 200)
  const history = Buffer.byteLength(await (await fetch(`${store.upstreamUrl}?offset=-1`)).text())
  parts.proxy.clear()
  const walks = await Promise.all(range(1, 20).map(() => walk(store)))
  for (const pages of walks) expect(seqs(pages)).toEqual(range(1, 200))
  const tail = walks[0]?.at(-1)?.bytes ?? 0
  const sent = parts.proxy.requests.reduce((sum, _) => sum + _.sent, 0)
  console.log(`20 cold walks at once: ${sent} bytes sent by the upstream for a history of ${history}`)
  expect(sent).toBeLessThanOrEqual(1.5 * history + 20 * tail)
})
