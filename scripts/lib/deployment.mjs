// What a deployment is made of: the settings it gets, what is wrong with them, and wrangler's command line.
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { isDeepStrictEqual, parseEnv } from 'node:util'
import { root, wrangler } from './tools.mjs'

export const ENVIRONMENTS = ['staging', 'production']

/** Settings that wrangler.toml does not list, because a development server needs none of them (docs/configuration.md). */
export const UNLISTED = [
  'ALLOW_INSECURE', 'ALLOWED_HEADERS',
  'UPSTREAM_TOKEN', 'JWT_SECRET', 'JWT_JWKS', 'JWT_JWKS_URL', 'JWT_HEADER', 'JWT_ISSUER', 'JWT_AUDIENCE',
  ...['TENANT', 'STORES', 'SCOPE'].flatMap((claim) => [`JWT_${claim}`, `JWT_${claim}_CLAIM`]),
]

/** A Worker's secrets: they belong to Cloudflare's store, not to a file or a command line. */
const SECRETS = ['JWT_SECRET', 'UPSTREAM_TOKEN']

/**
 * The values in deploy/<environment>.env.
 * @param {string} environment
 * @returns {NodeJS.Dict<string>}
 */
export function readValues(environment) {
  const file = `deploy/${environment}.env`
  if (!existsSync(join(root, file))) {
    throw new Error(`${file} is missing. Copy deploy/example.env there, and put your values in (docs/deployment.md).`)
  }
  return parseEnv(readFileSync(join(root, file), 'utf8'))
}

/**
 * Why a deployment with these values could not work; nothing if it can.
 * @param {NodeJS.Dict<string>} values
 * @param {Iterable<string>} known the names in wrangler.toml's [vars]
 * @returns {string[]}
 */
export function problems(values, known) {
  const found = []
  const names = new Set([...known, ...UNLISTED, 'DOMAIN'])
  for (const name of Object.keys(values)) {
    if (SECRETS.includes(name)) found.push(`${name} is a secret. Take it out, and run: npx wrangler secret put ${name} --env ENVIRONMENT`)
    else if (!names.has(name)) found.push(`${name} is not a setting of Headwater (docs/configuration.md lists them).`)
  }
  const upstream = URL.parse(values['UPSTREAM_URL'] ?? '')
  if (!upstream || !/^https?:$/.test(upstream.protocol)) {
    found.push('UPSTREAM_URL must be the URL of your Durable Streams server, such as https://streams.example.com/v1/stream.')
  } else if (upstream.username || upstream.password) {
    found.push('UPSTREAM_URL has a user or a password in it. Take it out; the Worker sends UPSTREAM_TOKEN: npx wrangler secret put UPSTREAM_TOKEN --env ENVIRONMENT')
  } else if (isLocal(upstream.hostname)) {
    found.push(`UPSTREAM_URL is ${upstream.href}, which Cloudflare can't reach. Give a server on the Internet.`)
  } else if (/(^|\.)example\.com$/.test(upstream.hostname)) {
    found.push('UPSTREAM_URL is still the example. Give your own server.')
  }
  if (values['AUTH_MODE'] !== 'jwt') {
    found.push('AUTH_MODE must be jwt: with none, a deployed Worker refuses everybody. docs/security.md has the settings.')
  }
  if (/"(d|k)"\s*:/.test(values['JWT_JWKS'] ?? '')) found.push('JWT_JWKS has a secret or private key in it ("k" or "d"). Give the public keys; a secret goes into JWT_SECRET.')
  if (values['JWT_JWKS_URL']?.includes('YOUR-')) found.push('JWT_JWKS_URL is still the example. Give that of your sign-in service, or take it out.')
  if (values['DOMAIN'] !== undefined && !/^[a-z0-9-]+(\.[a-z0-9-]+)+$/i.test(values['DOMAIN'])) {
    found.push(`DOMAIN must be a host name such as sync.example.com, not ${values['DOMAIN']}.`)
  }
  return found
}

/** @param {string} host */
function isLocal(host) {
  return /^(localhost|.*\.localhost|127\..*|10\..*|172\.(1[6-9]|2\d|3[01])\..*|192\.168\..*|169\.254\..*|0\.0\.0\.0|\[.*\])$/.test(host)
}

/**
 * @param {string} environment
 * @param {NodeJS.Dict<string>} values beyond wrangler.toml's [vars]
 * @param {NodeJS.Dict<unknown>} vars wrangler.toml's [vars]
 * @param {string[]} [more]
 * @returns {string[]} the arguments of Node
 */
export function wranglerDeploy(environment, { DOMAIN: domain, ...values }, vars, more = []) {
  const all = Object.entries({ ...vars, ...values })
  return [
    wrangler, 'deploy', '--env', environment,
    ...(domain ? ['--domain', domain] : []),
    ...all.flatMap(([name, value]) => ['--var', `${name}:${value}`]),
    ...more,
  ]
}

/** What an environment has of its own. */
const OWN = ['vars', 'name', 'topLevelName', 'targetEnvironment', 'definedEnvironments']

/**
 * What wrangler.toml says otherwise for an environment than at its top: wrangler inherits no bindings.
 * @param {object} top
 * @param {object} config of the environment
 * @returns {string[]}
 */
export function differences(top, config) {
  const others = new Map(Object.entries(config))
  return Object.entries(top).flatMap(([key, value]) => (OWN.includes(key) || isDeepStrictEqual(value, others.get(key)) ? [] : [key]))
}

/** wrangler.toml as wrangler understands it, at its top or for an environment. @param {string} [environment] */
export async function wranglerConfig(environment) {
  const { unstable_readConfig } = await import('wrangler')
  return unstable_readConfig({ config: join(root, 'wrangler.toml'), env: environment }, { hideWarnings: true })
}
