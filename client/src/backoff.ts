/** Exponential with equal jitter: half of the delay is certain, so that nobody hammers, half random, so that nobody marches in step. */
export const backoffDelay = (failures: number, limits: { readonly initialDelay: number; readonly maxDelay: number }): number => {
  if (failures <= 0) return 0
  const full = Math.min(limits.maxDelay, limits.initialDelay * 2 ** Math.min(failures - 1, 30))
  return full / 2 + (Math.random() * full) / 2
}
