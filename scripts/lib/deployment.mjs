// The parts of a deployment: its settings, the checks of them, and wrangler's command line.
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { isDeepStrictEqual, parseEnv } from 'node:util'
import { root, wrangler } from './tools.mjs'

export const ENVIRONMENTS = ['staging', 'production']

/**
 * The settings of the Worker, from the table in core/src/settings.rs.
 * @type {{ name: string, section: 'worker' | 'tokens', kind: 'text' | 'secret' | 'list' | 'one-of' | 'number', default?: string, values?: string[], atMost?: number }[]}
 */
export const SETTINGS = JSON.parse(readFileSync(join(root, 'scripts/lib/settings.json'), 'utf8'))

/**
 * The values in deploy/<environment>.env.
 * @param {string} environment
 * @returns {NodeJS.Dict<string>}
 */
export function readValues(environment) {
  const file = `deploy/${environment}.env`
  if (!existsSync(join(root, file))) {
    throw new Error(`${file} is missing. Copy deploy/example.env there, and fill in your values (docs/deployment.md).`)
  }
  return parseEnv(readFileSync(join(root, file), 'utf8'))
}

/**
 * Returns the reasons why a deployment with these values can't work.
 * @param {NodeJS.Dict<string>} values
 * @returns {string[]}
 */
export function problems(values) {
  const found = Object.entries(values).flatMap(([name, value = '']) =>
    name === 'DOMAIN' ? [] : settingProblems(name, value),
  )
  const oneShard = (values['UPSTREAM_URL'] ?? '').replace(/\{shard:([2-9]|[12]\d|3[0-2])\}/, '0')
  const upstream = URL.parse(oneShard)
  if (!values['UPSTREAM_URL']) {
    // The log is built in.
  } else if (!upstream || !/^https?:$/.test(upstream.protocol)) {
    found.push(
      'UPSTREAM_URL must be the URL of your Durable Streams server, such as https://streams.example.com/v1/stream.',
    )
  } else if (/[{}]/.test(oneShard)) {
    found.push('UPSTREAM_URL may have braces only as {shard:N}, once, with N from 2 to 32.')
  } else if (upstream.username || upstream.password) {
    found.push(
      'UPSTREAM_URL has a user or a password in it. Remove it, and give the Worker a token to send: npx wrangler secret put UPSTREAM_TOKEN --env ENVIRONMENT',
    )
  } else if (isLocal(upstream.hostname)) {
    found.push(`UPSTREAM_URL is ${upstream.href}, which Cloudflare can't reach. Use a server on the Internet.`)
  } else if (/(^|\.)example\.com$/.test(upstream.hostname)) {
    found.push('UPSTREAM_URL is still the example. Set the URL of your own server.')
  }
  if (values['AUTH_MODE'] !== 'jwt') {
    found.push(
      'AUTH_MODE must be jwt: with none, a deployed Worker refuses everyone. docs/security.md has the settings.',
    )
  }
  if (/"(d|k)"\s*:/.test(values['JWT_JWKS'] ?? ''))
    found.push(
      'JWT_JWKS has a secret or private key in it ("k" or "d"). Use the public keys only. A secret belongs in JWT_SECRET.',
    )
  if (values['JWT_JWKS_URL']?.includes('YOUR-'))
    found.push('JWT_JWKS_URL is still the example. Set the URL of your sign-in service, or remove the line.')
  if (values['DOMAIN'] !== undefined && !/^[a-z0-9-]+(\.[a-z0-9-]+)+$/i.test(values['DOMAIN'])) {
    found.push(`DOMAIN must be a host name such as sync.example.com, not ${values['DOMAIN']}.`)
  }
  return found
}

/**
 * Checks one value against the table of settings, and returns the problems.
 * @param {string} name
 * @param {string} value
 * @returns {string[]}
 */
function settingProblems(name, value) {
  const setting = SETTINGS.find((row) => row.name === name)
  if (setting === undefined) return [`${name} is not a setting of Headwater (docs/configuration.md lists them).`]
  const { kind, values = [], atMost = Number.MAX_SAFE_INTEGER } = setting
  if (kind === 'secret')
    return [`${name} is a secret. Remove it from this file, and run: npx wrangler secret put ${name} --env ENVIRONMENT`]
  // An empty value counts as absent.
  if (value === '') return []
  if (kind === 'one-of' && !values.includes(value))
    return [`${name} is ${JSON.stringify(value)}, but must be one of: ${values.join(', ')}.`]
  if (kind === 'list' && value.split(',').some((one) => one.trim() === ''))
    return [
      `${name} is ${JSON.stringify(value)}, but must be a list of values separated by commas, none of them empty.`,
    ]
  if (kind !== 'number') return []
  if (!/^\+?\d+$/.test(value) || Number(value) < 1)
    return [`${name} is ${JSON.stringify(value)}, but must be a whole number, 1 or more.`]
  return Number(value) > atMost ? [`${name} is ${JSON.stringify(value)}, but may be at most ${atMost}.`] : []
}

/** @param {string} host */
function isLocal(host) {
  return /^(localhost|.*\.localhost|127\..*|10\..*|172\.(1[6-9]|2\d|3[01])\..*|192\.168\..*|169\.254\..*|0\.0\.0\.0|\[.*\])$/.test(
    host,
  )
}

/**
 * @param {string} environment
 * @param {NodeJS.Dict<string>} values in addition to wrangler.toml's [vars]
 * @param {NodeJS.Dict<unknown>} vars wrangler.toml's [vars]
 * @param {string[]} [more]
 * @returns {string[]} the arguments of Node
 */
export function wranglerDeploy(environment, { DOMAIN: domain, ...values }, vars, more = []) {
  const all = Object.entries({ ...vars, ...values })
  return [
    wrangler,
    'deploy',
    '--env',
    environment,
    ...(domain ? ['--domain', domain] : []),
    ...all.flatMap(([name, value]) => (value === undefined ? [] : ['--var', `${name}:${value}`])),
    ...more,
  ]
}

/** The keys in which environments differ. */
const OWN_KEYS = ['vars', 'name', 'topLevelName', 'targetEnvironment', 'definedEnvironments']

/**
 * Returns the keys that differ between the top of wrangler.toml and an environment, which inherits no bindings.
 * @param {object} top
 * @param {object} config of the environment
 * @returns {string[]}
 */
export function differences(top, config) {
  const others = new Map(Object.entries(config))
  return Object.entries(top).flatMap(([key, value]) =>
    OWN_KEYS.includes(key) || isDeepStrictEqual(value, others.get(key)) ? [] : [key],
  )
}

/** Reads wrangler.toml as wrangler does: its top, or an environment. @param {string} [environment] */
export async function wranglerConfig(environment) {
  const { unstable_readConfig } = await import('wrangler')
  return unstable_readConfig({ config: join(root, 'wrangler.toml'), env: environment }, { hideWarnings: true })
}
