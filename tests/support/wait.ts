/** Waits for a condition. After the timeout it throws with the state. */
export const eventually = async (
  what: string,
  holds: () => boolean,
  state: () => unknown,
  withinMs = 20_000,
  signal?: AbortSignal,
): Promise<void> => {
  const deadline = Date.now() + withinMs
  while (!holds() && !signal?.aborted) {
    if (Date.now() > deadline)
      throw new Error(`not within ${withinMs} ms: ${what}\n${JSON.stringify(state(), null, 2)}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}
