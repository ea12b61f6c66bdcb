/** The requests that are being answered, so that all can be ended. */

export interface OpenRequest {
  /** Aborted when the client is gone, or the server stops. */
  signal: AbortSignal
  abort(): void
  /** The answer is at its end. */
  done(): void
}

/** Timers that are longer end at once. */
const LONGEST = 2 ** 31 - 1

export class OpenRequests {
  readonly #open = new Set<AbortController>()
  #stopping = false
  #empty: (() => void) | undefined

  /** No request is taken up any more. */
  get stopping(): boolean {
    return this.#stopping
  }

  /** @param client the signal of the request itself */
  enter(client: AbortSignal): OpenRequest {
    const stopped = new AbortController()
    const abort = () => stopped.abort()
    this.#open.add(stopped)
    if (client.aborted) abort()
    client.addEventListener('abort', abort, { once: true })
    return {
      signal: stopped.signal,
      abort,
      done: () => {
        client.removeEventListener('abort', abort)
        this.#open.delete(stopped)
        if (this.#open.size === 0) this.#empty?.()
      },
    }
  }

  /** Waits for so many milliseconds that requests end by themselves, and ends the others. */
  async stop(drain: number): Promise<void> {
    this.#stopping = true
    if (await this.#ends(drain)) return
    for (const stopped of this.#open) stopped.abort()
    // What is aborted still says so to its client.
    await this.#ends(1000)
  }

  /** Whether none is open within so many milliseconds. */
  async #ends(milliseconds: number): Promise<boolean> {
    if (this.#open.size === 0) return true
    return await new Promise<boolean>((resolve) => {
      const timer = setTimeout(() => resolve(false), Math.min(milliseconds, LONGEST))
      this.#empty = () => {
        clearTimeout(timer)
        resolve(true)
      }
    })
  }
}
