// npm run token: makes a token for AUTH_MODE=jwt with the JWT_SECRET of the environment, for development and for your own
// tools. An app gets the tokens of its users from its sign-in service (docs/security.md).
import { createHmac } from 'node:crypto'
import { parseArgs } from 'node:util'

const HELP = `JWT_SECRET=… npm run --silent token -- --tenant NAME [options]

  --tenant NAME    the tenant that the token is for
  --stores NAME    a store that the token is for; repeat it for more stores (default: all)
  --scope TEXT     the scopes: read, write and admin (default 'read write')
  --seconds N      how long the token is valid (default 3600)
  --help

If JWT_ISSUER and JWT_AUDIENCE are set, they go into the token. If one of them is a list, its first entry goes there.`

try {
  main()
} catch (error) {
  console.error(`${error instanceof Error ? error.message : error}\n\n${HELP}`)
  process.exit(2)
}

function main() {
  const { values } = parseArgs({
    options: {
      tenant: { type: 'string' },
      stores: { type: 'string', multiple: true },
      scope: { type: 'string', default: 'read write' },
      seconds: { type: 'string', default: '3600' },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) return console.log(HELP)
  const { JWT_SECRET: secret, JWT_ISSUER: issuer, JWT_AUDIENCE: audience } = process.env
  if (!secret) throw new Error('JWT_SECRET is not set')
  if (!values.tenant) throw new Error('--tenant is missing')
  const seconds = Number(values.seconds)
  if (!Number.isFinite(seconds)) throw new Error(`--seconds must be a number, not ${values.seconds}`)
  const first = (/** @type {string | undefined} */ list) => list?.split(',')[0]?.trim()
  const claims = {
    iss: first(issuer),
    aud: first(audience),
    exp: Math.floor(Date.now() / 1000 + seconds),
    tenant: values.tenant,
    stores: values.stores ?? '*',
    scope: values.scope,
  }
  const parts = [{ alg: 'HS256', typ: 'JWT' }, claims].map((part) =>
    Buffer.from(JSON.stringify(part)).toString('base64url'),
  )
  const signed = parts.join('.')
  console.log(`${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`)
}
