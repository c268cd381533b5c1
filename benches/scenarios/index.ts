import { catchUpLong, catchUpShort } from './catch-up.ts'
import { contentionOne, contentionTen } from './contention.ts'
import { crowd, delivery } from './live.ts'
import { manyReaders } from './many-readers.ts'
import { bulk, refused, single } from './push.ts'
import type { Scenario } from './scenario.ts'
import { stores } from './stores.ts'
import { manyStores } from './tenants.ts'

export const SCENARIOS: readonly Scenario[] = [
  single,
  bulk,
  catchUpShort,
  catchUpLong,
  delivery,
  contentionOne,
  contentionTen,
  crowd,
  manyReaders,
  manyStores,
  refused,
  stores,
]
