import { checkName, storePath, urlPath } from '../protocol/index.js'

/**
 * The Worker's URL of one store.
 *
 * @throws an `Error` that says which name or URL cannot be used, and why
 */
export const workerEndpoint = (url: string, tenant: string, storeId: string): string => {
  return `${baseUrl('url', url)}/v1/stream/${urlPath(checkName('tenant', tenant), checkName('storeId', storeId))}`
}

/** A store's stream below the upstream's URL. */
export interface UpstreamEndpoint {
  readonly base: string
  readonly path: string
}

/** @throws as above */
export const upstreamEndpoint = async (url: string, tenant: string, storeId: string): Promise<UpstreamEndpoint> => ({
  base: baseUrl('upstream.url', url),
  path: await storePath(tenant, storeId),
})

const baseUrl = (what: string, url: string): string => {
  const location = (globalThis as { location?: { href?: string } }).location
  let parsed: URL
  try {
    parsed = new URL(url, location?.href)
  } catch {
    throw new Error(`${what} ${JSON.stringify(url)} is not a URL`)
  }
  if (parsed.protocol !== 'http:' && parsed.protocol !== 'https:') {
    throw new Error(`${what} ${JSON.stringify(url)} must be http or https`)
  }
  return `${parsed.origin}${parsed.pathname.replace(/\/+$/, '')}`
}
