import { long, short } from './catch-up.ts'
import { one, ten } from './contention.ts'
import { crowd, delivery } from './live.ts'
import { bulk, refused, single } from './push.ts'
import type { Scenario } from './scenario.ts'
import { manyStores } from './tenants.ts'

export const SCENARIOS: readonly Scenario[] = [
  single,
  bulk,
  short,
  long,
  delivery,
  one,
  ten,
  crowd,
  manyStores,
  refused,
]
