declare module 'cloudflare:workers' {
  /** Keeps the request that is being answered alive until the promise settles. */
  export function waitUntil(promise: Promise<unknown>): void
}
