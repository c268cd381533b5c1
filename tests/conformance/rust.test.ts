import { startRustUpstream } from '../harness/index.ts'
import { runSuite } from './suite.ts'

runSuite('rust', startRustUpstream)
