import { startNodeUpstream } from '../harness/index.ts'
import { runSuite } from './suite.ts'

runSuite('node', startNodeUpstream)
