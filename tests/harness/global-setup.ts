// Builds the Worker before the first test file. Every file starts its own servers on that build.
import { build } from './build.ts'

export default async function setup(): Promise<void> {
  await build()
}
