// The formatters. `npm run format` writes files; the steps of `npm test` only check them.
import { join } from 'node:path'
import { run } from './steps.mjs'
import { node, root } from './tools.mjs'

/** Each of these is a Cargo workspace of its own, and needs its own call. */
const WORKSPACES = ['Cargo.toml', 'fuzz/Cargo.toml', 'scripts/bindgen/Cargo.toml']

export const biome = [node, join(root, 'node_modules/@biomejs/biome/bin/biome')]

/**
 * @param {'check' | 'write'} mode
 * @param {import('./steps.mjs').Options} [options]
 */
export async function formatRust(mode, options) {
  const flags = mode === 'check' ? ['--check'] : []
  for (const manifest of WORKSPACES) {
    if (!(await run('cargo fmt', ['cargo', 'fmt', '--all', '--manifest-path', manifest, ...flags], options)))
      return false
  }
  return true
}

/**
 * Formats TypeScript, JavaScript, JSON and CSS, and sorts imports.
 * @param {'check' | 'write'} mode
 * @param {import('./steps.mjs').Options} [options]
 */
export const formatRest = (mode, options) =>
  run('biome', [...biome, 'check', '--linter-enabled=false', ...(mode === 'write' ? ['--write'] : [])], options)
