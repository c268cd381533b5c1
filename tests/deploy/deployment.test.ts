// The result of `npm run deploy`, without Cloudflare.
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseEnv, promisify } from 'node:util'
import { beforeAll, expect, test } from 'vitest'
import { differences, ENVIRONMENTS, problems, wranglerConfig, wranglerDeploy } from '../../scripts/lib/deployment.mjs'
import { SIZE_BUDGET, workerSize } from '../../scripts/lib/size.mjs'
import { node, root, toolEnv } from '../../scripts/lib/tools.mjs'

let top: Awaited<ReturnType<typeof wranglerConfig>>
const good = {
  UPSTREAM_URL: 'https://streams.acme.dev/v1/stream',
  AUTH_MODE: 'jwt',
  JWT_STORES: '*',
  DOMAIN: 'sync.acme.dev',
}
const wrong = (values: NodeJS.Dict<string>) => problems({ ...good, ...values }).join('\n')

beforeAll(async () => {
  top = await wranglerConfig()
})

test('the Worker is within its size budget', () => {
  expect(workerSize()).toBeLessThanOrEqual(SIZE_BUDGET)
})

test.each(ENVIRONMENTS)(
  'the environment %s has the bindings, the migrations and the compatibility date of development',
  async (environment) => {
    const config = await wranglerConfig(environment)
    expect(differences(top, config)).toEqual([])
    expect(differences({ ...top, ratelimits: [{ name: 'RATE_LIMITER' }] }, config)).toEqual(['ratelimits'])
    expect(config.name).toBe(`${top.name}-${environment}`)
  },
)

test.each(
  ENVIRONMENTS.flatMap((environment) => [
    { environment, log: 'at an upstream', values: good },
    { environment, log: 'built in', values: { ...good, UPSTREAM_URL: undefined } },
  ]),
)('wrangler accepts the environment $environment with the log $log', async ({ environment, values }) => {
  const args = wranglerDeploy(environment, values, top.vars, ['--dry-run'])
  const env = { ...toolEnv(), CI: 'true', HEADWATER_SKIP_BUILD: '1', WRANGLER_SEND_METRICS: 'false', FORCE_COLOR: '0' }
  const { stdout } = await promisify(execFile)(node, args, { cwd: root, env })
  expect(stdout).toContain('env.SEQUENCER (Sequencer)')
  const names = Object.entries({ ...top.vars, ...values }).flatMap(([name, value]) => (value === undefined ? [] : name))
  for (const name of names.filter((name) => name !== 'DOMAIN')) expect(stdout).toContain(`env.${name} `)
  expect(stdout).not.toContain('env.DOMAIN')
})

test('values that can work pass, and each other value is refused with advice', () => {
  expect(wrong({})).toBe('')
  expect(wrong({ UPSTREAM_URL: 'http://127.0.0.1:4437/v1/stream' })).toContain("Cloudflare can't reach")
  expect(wrong({ UPSTREAM_URL: 'streams' })).toContain('UPSTREAM_URL must be the URL')
  // The log is built in
  for (const none of [undefined, '']) expect(wrong({ UPSTREAM_URL: none })).toBe('')
  expect(wrong({ UPSTREAM_URL: 'https://me:secret@streams.acme.dev/v1' })).toMatch(
    /^UPSTREAM_URL has a user or a password(?!.*me:secret)/,
  )
  expect(wrong({ AUTH_MODE: 'none' })).toContain('AUTH_MODE must be jwt')
  expect(wrong({ JWT_SECRET: 'x' })).toContain('wrangler secret put JWT_SECRET')
  expect(wrong({ UPSTREM_URL: 'x' })).toContain('UPSTREM_URL is not a setting')
  // Unnoticed, these would leave the issuer unchecked, and put a secret on a command line
  expect(wrong({ JWT_ISUER: 'x' })).toContain('JWT_ISUER is not a setting')
  expect(wrong({ JWT_SECRETS: 'x' })).toContain('JWT_SECRETS is not a setting')
  expect(wrong({ JWT_JWKS: '{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AA","d":"AA"}]}' })).toContain('private key')
  expect(wrong({ JWT_JWKS: '{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AA","kid":"d"}]}' })).toBe('')
  expect(wrong({ UPSTREAM_URL: 'http://172.20.0.2:4437/v1/stream' })).toContain("Cloudflare can't reach")
  expect(wrong({ UPSTREAM_URL: 'https://streams.myexample.com/v1/stream' })).toBe('')
  expect(wrong({ UPSTREAM_URL: 'https://streams-{shard:16}.acme.dev/v1/stream' })).toBe('')
  expect(wrong({ UPSTREAM_URL: 'https://streams-{shard}.acme.dev/v1/stream' })).toContain('{shard:N}')
  expect(wrong({ LOG_REQUESTS: 'some' })).toContain('LOG_REQUESTS is "some", but must be one of: all, errors, none')
  expect(wrong({ MAX_IN_FLIGHT: '0' })).toContain('MAX_IN_FLIGHT is "0", but must be a whole number, 1 or more')
  expect(wrong({ SEGMENT_BYTES: '8388608' })).toContain('SEGMENT_BYTES is "8388608", but may be at most 4194304')
  expect(wrong({ JWT_AUDIENCE: 'one,' })).toContain('JWT_AUDIENCE is "one,", but must be a list')
  expect(wrong({ MAX_IN_FLIGHT: '' })).toBe('')
  expect(wrong({ DOMAIN: 'https://sync.acme.dev' })).toContain('DOMAIN must be a host name')
  const example = parseEnv(readFileSync(join(root, 'deploy/example.env'), 'utf8'))
  expect(problems(example)).toHaveLength(1)
})
