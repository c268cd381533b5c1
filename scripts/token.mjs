// npm run token: makes a token for AUTH_MODE=jwt with the JWT_SECRET of the environment. For development and for tools of
// your own; an app gets its users' tokens from whoever signs them in (docs/security.md).
import { createHmac } from 'node:crypto'
import { parseArgs } from 'node:util'

const HELP = `JWT_SECRET=… npm run --silent token -- --tenant NAME [options]

  --tenant NAME    whose data
  --stores NAME    a store; give it once for each, or leave it out for all
  --scope TEXT     what may be done (default 'read write'; there is admin, too)
  --seconds N      how long it is valid (default 3600)
  --help

JWT_ISSUER and JWT_AUDIENCE go into the token if they are set; with more than one, the first.`

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
