import { catchUpLong, catchUpShort } from './catch-up.ts'
import { contentionOne, contentionTen } from './contention.ts'
import { crowd, delivery } from './live.ts'
import { bulk, refused, single } from './push.ts'
import type { Scenario } from './scenario.ts'
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
  manyStores,
  refused,
]
