/**
 * Exponential backoff with equal jitter, in milliseconds. Half of the delay is certain, so that no client hammers. Half is
 * random, so that clients do not retry in step. `random` is from 0 to 1.
 */
export const backoffDelay = (
  failures: number,
  limits: { readonly initialDelayMs: number; readonly maxDelayMs: number },
  random: number = Math.random(),
): number => {
  if (failures <= 0) return 0
  const full = Math.min(limits.maxDelayMs, limits.initialDelayMs * 2 ** Math.min(failures - 1, 30))
  return full / 2 + (random * full) / 2
}
