import { runSuite } from './suite.ts'

runSuite('built-in')
